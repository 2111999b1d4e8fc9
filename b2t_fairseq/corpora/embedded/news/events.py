"""What happened: a deed, plan, demand and so on, as clauses of a text and as a headline.

Each family takes a Draw and returns a `Fact`. Which fact of a text is the news is told by the sentence's structure
alone: `articles.py` puts others of the same kind into subordinate clauses and into the past perfect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from . import words as w
from .draw import Draw, Phrase

ACTORS = {  # who does what (`words.ACTIONS`), the likeliest first
    "building": "government council company ministry minister",
    "levy": "government ministry minister",
    "trade": "government ministry body minister",
    "paper": "government minister group council court body ministry",
    "people": "police court customs",
    "loot": "police customs",
    "firm": "company government unnamed",
    "meeting": "government minister body group",
    "aid": "government body ministry",
    "jobs": "company unnamed",
    "product": "company scientists unnamed",
}
_SUDDEN = ("people", "loot")  # what the police do, without telling before


@dataclass(frozen=True)
class Fact:
    """The news: a main clause without its full stop, and the headline."""

    clause: str
    headline: str
    past: bool = True  # whether a date of the past fits


@dataclass(frozen=True)
class Deed:
    """Somebody does something."""

    agent: Phrase
    action: w.Action
    verb: w.Verb
    thing: Phrase

    def active(self, form: str) -> str:
        """Return e.g. "V-ed O" for the form `past`."""
        return f"{getattr(self.verb, form)} {self.thing.text}"

    def passive(self, auxiliary: str) -> str:
        """Return "O AUXILIARY V-en by A"."""
        return f"{self.thing.text} {auxiliary} {self.verb.participle} by {self.agent.text}"

    def named(self) -> str:
        """Return e.g. "the construction of O"."""
        return f"{self.action.noun} {self.thing.text}"

    def head(self, form: str = "base") -> str:
        """Return verb and object of a headline."""
        return f"{getattr(self.action.head, form)} {self.thing.head}"


def deed(draw: Draw, kinds: str = "", agent: Phrase | None = None) -> Deed:
    """Draw a deed, of one of the kinds, by this agent if one is given."""
    kind = draw.zipf(kinds.split() or tuple(w.ACTIONS))
    action = draw.zipf(w.ACTIONS[kind])
    agent = agent or draw.agent(ACTORS[kind])
    thing = draw.thing(kind, agent)
    while thing.head == agent.head:  # no company buys itself
        thing = draw.thing(kind, agent)
    return Deed(agent, action, draw.zipf(action.verbs), thing)


PLANNED = " ".join(kind for kind in w.ACTIONS if kind not in _SUDDEN)
ASKED = "building levy paper firm trade meeting"  # what one asks others to do


def subject(draw: Draw, agent: Phrase) -> str:
    """Return the agent as a subject: sometimes with its gloss, or with a relative clause that tells old news."""
    if agent.text.endswith(","):
        return agent.text
    if agent.gloss and draw.chance(0.45):
        return f"{agent.text} , {agent.gloss} ,"
    if draw.chance(0.12):
        old = deed(draw, ASKED, agent)
        who = "who" if agent.pronoun in ("he", "she", "they") else "which"
        return f"{agent.text} , {who} {old.active('past')} {draw.past()} ,"
    return agent.text


def verb_of(agent: Phrase, verb: w.Verb) -> str:
    """Return a headline's finite verb."""
    return verb.base if agent.plural else verb.third


def were(phrase: Phrase) -> str:
    """Return the auxiliary of the passive."""
    return "were" if phrase.plural else "was"


# --- families ----------------------------------------------------------------------------------------------------


def done(draw: Draw) -> Fact:
    """Draw what somebody did; half of the texts say it in the passive."""
    d = deed(draw)
    head = f"{d.agent.head} {verb_of(d.agent, d.action.head)} {d.thing.head}"
    if draw.chance(0.5):
        agent = replace(d.agent, text=subject(draw, d.agent))
        return Fact(replace(d, agent=agent).passive(were(d.thing)), head)
    return Fact(f"{subject(draw, d.agent)} {d.active('past')}", head)


def planned(draw: Draw) -> Fact:
    """Draw what somebody will do; texts say it by a verb, a noun or in the passive, headlines by `to`."""
    d = deed(draw, PLANNED)
    head, who = f"{d.agent.head} to {d.head()}", subject(draw, d.agent)
    kind = draw.of(would=30, passive=25, noun=30, will=15)
    if kind == "would":
        return Fact(f"{who} said {{day}} that {d.agent.pronoun} would {d.active('base')}", head)
    if kind == "noun":
        return Fact(f"{who} {draw.zipf(('announced', 'decided on', 'announced plans for'))} {d.named()}", head)
    if kind == "passive":
        return Fact(replace(d, agent=replace(d.agent, text=who)).passive("will be") + " {future}", head, False)
    plans = "plan" if d.agent.plural else "plans"
    return Fact(f"{who} {draw.zipf(('will', f'{plans} to'))} {d.active('base')} {{future}}", head, False)


def considered(draw: Draw) -> Fact:
    """Draw what somebody may do."""
    d = deed(draw, PLANNED)
    head, who = f"{d.agent.head} may {d.head()}", subject(draw, d.agent)
    kind = draw.of(whether=40, noun=30, could=30)
    if kind == "whether":
        return Fact(f"{who} {were(d.agent)} considering whether to {d.active('base')}", head)
    if kind == "noun":
        return Fact(f"{who} said {{day}} that {d.agent.pronoun} did not rule out {d.named()}", head)
    return Fact(replace(d, agent=replace(d.agent, text=who)).passive("could be") + " {future}", head, False)


def refused(draw: Draw) -> Fact:
    """Draw what somebody will not do."""
    d = deed(draw, PLANNED)
    head, who = f"{d.agent.head} not to {d.head()}", subject(draw, d.agent)
    kind = draw.of(not_=40, noun=30, refused=30)
    if kind == "not_":
        return Fact(f"{who} said {{day}} that {d.agent.pronoun} would not {d.active('base')}", head)
    if kind == "noun":
        return Fact(f"{who} ruled out {d.named()}", head)
    return Fact(f"{who} refused to {d.active('base')}", head)


def _two(draw: Draw, first: str) -> tuple[Phrase, Deed]:
    """Draw somebody who says something of another one's deed."""
    speaker, d = draw.agent(first), deed(draw, ASKED)
    while d.agent.head == speaker.head:
        d = deed(draw, ASKED)
    return speaker, d


def urged(draw: Draw) -> Fact:
    """Draw what one asks of another; in the passive and with `should`, the other comes first."""
    speaker, d = _two(draw, "minister group body government company")
    head = f"{speaker.head} {'urge' if speaker.plural else 'urges'} {d.agent.head} to {d.head()}"
    kind = draw.of(called=35, passive=35, should=30)
    if kind == "called":
        asked = draw.zipf(("called on", "asked", "appealed to"))
        return Fact(f"{subject(draw, speaker)} {asked} {d.agent.text} to {d.active('base')}", head)
    who = subject(draw, d.agent)
    if kind == "passive":
        asked = f"{draw.zipf(('asked', 'called on'))} by {speaker.text}"
        return Fact(f"{who} {were(d.agent)} {asked} to {d.active('base')}", head)
    return Fact(f"{who} should {d.active('base')} , {speaker.text} said", head)


def accused(draw: Draw) -> Fact:
    """Draw what one blames another for."""
    speaker, d = _two(draw, "group minister government body company")
    head = f"{speaker.head} {'slam' if speaker.plural else 'slams'} {d.agent.head} for {d.head('ing')}"
    kind = draw.of(active=40, passive=60)
    blamed, preposition = draw.zipf((("criticized", "for"), ("blamed", "for"), ("attacked", "for")))
    if kind == "active":
        return Fact(f"{subject(draw, speaker)} {blamed} {d.agent.text} {preposition} {d.active('ing')}", head)
    who = subject(draw, d.agent)
    return Fact(f"{who} {were(d.agent)} {blamed} by {speaker.text} {preposition} {d.active('ing')}", head)


def denied(draw: Draw) -> Fact:
    """Draw what somebody says is not so."""
    d = deed(draw, ASKED)
    head = f"{d.agent.head} {'deny' if d.agent.plural else 'denies'} {d.head('ing')}"
    if draw.chance(0.5):
        return Fact(
            f"{subject(draw, d.agent)} denied a report that {d.agent.pronoun} had {d.active('participle')}", head
        )
    had = f"{d.agent.text} had {d.active('participle')}"
    return Fact(f"reports that {had} were {draw.zipf(('not true', 'false'))} , {d.agent.pronoun} said", head)


def market(draw: Draw) -> Fact:
    """Draw how far a share or a price went up or down."""
    up = draw.chance(0.5)
    percent = f"{draw.number(1, 9)}.{draw.randrange(1, 10)}" if draw.chance(0.6) else f"{draw.number(2, 60)}"
    if draw.chance(0.5):
        firm = draw.company()
        what, head = f"shares of {firm.text}", f"{firm.head} shares"
        what = f"{what} , {firm.gloss} ," if draw.chance(0.4) else what
    else:
        rate = draw.of_goods(w.PRICES)
        place = draw.country()
        what, head = f"{rate.text} in {draw.nation(place)}", f"{place.adjective} {rate.head}"
    went = draw.zipf(("rose by", "climbed", "increased by") if up else ("fell by", "dropped", "declined by"))
    return Fact(f"{what} {went} {percent} percent", f"{head} {'up' if up else 'down'} {percent} pct")


def results(draw: Draw) -> Fact:
    """Draw what a company earned or lost."""
    firm, (amount, short), profit = draw.firm(), draw.money(), draw.chance(0.5)
    when = draw.zipf(("the first quarter", "the last quarter", "the year", "the first half of the year"))
    what = draw.zipf(("a profit", "net earnings") if profit else ("a loss", "a deficit"))
    word = draw.zipf(("reported", "announced"))
    clause = f"{subject(draw, firm)} {word} {what} of {amount} dollars for {when}"
    return Fact(clause, f"{firm.head} posts {short} dlr {'profit' if profit else 'loss'}")


def disaster(draw: Draw) -> Fact:
    """Draw an accident: the dead count if there are any, the country stands for the town."""
    (event, noun, hurt_ones), country, (spelled, number) = draw.zipf(w.DISASTERS), draw.country(), draw.count()
    where = f"{draw.zipf(('near', 'outside', 'north of'))} {draw.city(country)}"
    victims, (hurt, injured) = draw.zipf(hurt_ones.split()), draw.count()
    noun = f"in {country.adjective} {noun}"
    kind = draw.of(both=40, dead=30, hurt=30)
    if kind == "hurt":
        form = draw.zipf((f"{hurt} {victims} were injured when {event} {where}",
                          f"{event} {where} , injuring {hurt} {victims}"))  # fmt: skip
        return Fact(form, f"{injured} hurt {noun}")
    more = f" and {hurt} injured" if kind == "both" else ""
    ing = f", killing {spelled} {victims}" + (f" and injuring {hurt} others" if kind == "both" else "")
    form = draw.zipf((f"{spelled} {victims} were killed{more} when {event} {where}", f"{event} {where} {ing}"))
    return Fact(form, f"{number} die {noun}")


def match(draw: Draw) -> Fact:
    """Draw a match: headlines begin with the winner, whose goals stand first."""
    one, other, sport = draw.country(), draw.country(), draw.zipf(tuple(w.SPORTS))
    while other.name == one.name:
        other = draw.country()
    low, high, ahead = w.SPORTS[sport]
    lost = draw.number(low, high)
    won = 3 if sport == "volleyball" else lost + draw.number(1, ahead)
    head = f"{one.name} beats {other.name} {won}-{lost} in {sport}"
    cup = f"in the {draw.zipf(w.ROUNDS)} of the {sport} {draw.zipf(('cup', 'championship', 'tournament'))}"
    first, second = draw.nation(one), draw.nation(other)
    form = draw.of(beat=30, beaten=35, lost=35)
    if form == "beat":
        return Fact(f"{first} {draw.zipf(('defeated', 'beat'))} {second} {won}-{lost} {cup}", head)
    if form == "beaten":
        return Fact(f"{second} {draw.zipf(('was defeated', 'was beaten'))} {won}-{lost} by {first} {cup}", head)
    return Fact(f"{second} lost {lost}-{won} to {first} {cup}", head)


def appointed(draw: Draw) -> Fact:
    """Draw who got which post: headlines have the surname alone."""
    (first, last, pronoun), firm, post = draw.person(), draw.company(), draw.zipf(tuple(w.POSTS))
    head = f"{last} named {firm.head} {w.POSTS[post]}"
    before = draw.person()
    old = f"{'her' if pronoun == 'she' else 'his'} predecessor {before[0]} {before[1]}"
    kind = draw.of(appointed=35, passive=35, succeed=30)
    if kind == "appointed":
        return Fact(f"{subject(draw, firm)} appointed {first} {last} as its new {post}", head)
    if kind == "passive":
        named = draw.zipf(("was named", "was chosen as", "was elected"))
        return Fact(f"{first} {last} , {draw.number(35, 70)} , {named} {post} of {firm.text}", head)
    return Fact(f"{firm.text} chose {first} {last} as {post} after {old} had resigned", head)


def poll(draw: Draw) -> Fact:
    """Draw what voters think."""
    country, paper, percent = draw.country(), draw.paper(), draw.number(51, 95)
    back = draw.chance(0.5)
    verb = draw.zipf(("support", "are in favour of") if back else ("are against", "oppose"))
    who = draw.zipf((f"voters in {draw.nation(country)}", f"{country.adjective} voters"))
    clause = f"{percent} percent of {who} {verb} {paper.text} , a survey showed"
    return Fact(clause, f"{percent} pct of {country.adjective} voters {'back' if back else 'oppose'} {paper.head}")


# How often each family is drawn.
FAMILIES: dict[Callable[[Draw], Fact], float] = {
    done: 30,
    planned: 20,
    considered: 6,
    refused: 6,
    urged: 10,
    accused: 6,
    denied: 5,
    market: 6,
    results: 4,
    disaster: 5,
    match: 4,
    appointed: 5,
    poll: 3,
}


def fact(draw: Draw) -> Fact:
    """Draw one fact from a family drawn by FAMILIES."""
    return draw.choices(list(FAMILIES), weights=list(FAMILIES.values()))[0](draw)
