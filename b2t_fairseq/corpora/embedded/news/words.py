"""The words: countries, names, verbs with their forms, and what verbs are about.

Within a list, words stand in order of frequency: a word's rank sets how often it is drawn (Zipf). Countries and
institutions have their real names; persons, companies and newspapers are invented, and nothing in the texts happened.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Country:
    """A country, its adjective, and its cities, the capital first."""

    name: str
    adjective: str
    cities: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    """Return the words between spaces; `_` stands for a space inside one."""
    return tuple(word.replace("_", " ") for word in text.split())


def _table(text: str) -> list[tuple[str, ...]]:
    """Return the words of each line."""
    return [_words(row) for row in text.strip().splitlines()]


COUNTRIES = tuple(
    Country(name, adjective, tuple(cities))
    for name, adjective, *cities in _table("""
        france french paris lyon lille
        germany german berlin hamburg leipzig
        italy italian rome milan turin
        japan japanese tokyo osaka nagoya
        spain spanish madrid seville valencia
        poland polish warsaw krakow gdansk
        norway norwegian oslo bergen trondheim
        sweden swedish stockholm uppsala malmo
        turkey turkish ankara izmir bursa
        greece greek athens patras volos
        denmark danish copenhagen aarhus odense
        finland finnish helsinki tampere turku
        portugal portuguese lisbon porto braga
        ireland irish dublin cork galway
        netherlands dutch amsterdam utrecht rotterdam
        hungary hungarian budapest szeged pecs
        kenya kenyan nairobi mombasa kisumu
        chile chilean santiago valparaiso arica
        peru peruvian lima cusco trujillo
        canada canadian ottawa toronto calgary
        thailand thai bangkok phuket lampang
        switzerland swiss bern zurich basel
        belgium belgian brussels antwerp ghent
        austria austrian vienna graz linz
        iceland icelandic reykjavik akureyri husavik
        vietnam vietnamese hanoi hue danang
    """)
)
ARTICLED = ("netherlands",)  # the netherlands

FIRST_NAMES = _words("""
    anna peter maria david laura martin elena simon clara victor helen oscar julia felix irene bruno nora hugo
    diana karl ruth leon vera emil rosa adam olga max lena ivan
""")
FEMALE = FIRST_NAMES[::2]
SURNAMES = _words("""
    keller novak berg rossi tanaka moreau silva larsen kovac weber lindgren costa fischer dubois mori hansen
    romano jansen vogel sato marek olsen greco nowak petit haas virtanen demir santos byrne molina lund zeman
    ferrari okada brandt peeters horvat kimura walsh navarro holm riva sorel tamm ortega falk mancini adler
    quint
""")

FIRMS = _words("""
    norvik altano merax velora kestrel tandem orbita solvena carmont lindex pharos zenora bolero ramsund ostara
    quantis fermata delmar ivoria trevano sundal mirabel corvex hektor palisade nordal galvano astelle rubicon
    tessera
""")
#: what a company is called after its own name -> what it makes it: the largest MAKER in COUNTRY
FIRM_KINDS = {
    "steel": "steel maker",
    "motors": "car maker",
    "bank": "lender",
    "airways": "airline",
    "telecom": "phone company",
    "foods": "food producer",
    "energy": "power company",
    "drugs": "drug maker",
    "shipping": "shipping line",
    "media": "publisher",
}
NEWSPAPERS = ("the daily courier", "the evening post", "the morning herald", "the weekly mirror", "the daily echo")
AGENCIES = ("state radio", "national television", "a local newspaper", "a news agency", "local radio")

BODIES = {  # as texts and as headlines name them
    "the united nations": "un",
    "the european union": "eu",
    "the international monetary fund": "imf",
    "the european central bank": "ecb",
    "the world health organization": "who",
    "the world trade organization": "wto",
}
MINISTRIES = _words("""
    finance health foreign defence transport education farm labour energy justice culture
""")
GROUPS = _words("""
    teachers farmers doctors nurses students miners pilots truck_drivers fishermen journalists railway_workers
    dock_workers lawyers bakers actors postal_workers
""")

DAYS = _words("""
    monday tuesday wednesday thursday friday saturday sunday
""")
MONTHS = _words("""
    march may june september october january april july february november august december
""")
NUMERALS = _words("""
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty
""")  # two is the first

# Objects. A row is the word in texts, then in headlines where that is another one.
BUILDINGS = (
    ("bridge",), ("airport",), ("hospital",), ("factory", "plant"), ("school",), ("power station", "power plant"),
    ("stadium",), ("railway station", "rail station"), ("museum",), ("port",), ("dam",), ("prison", "jail"),
    ("library",), ("tunnel",), ("theatre",), ("market",), ("shopping centre", "mall"), ("research centre", "lab"),
    ("swimming pool", "pool"), ("coal mine", "mine"),
)  # fmt: skip
GOODS = _words("""
    wheat oil rice sugar beef tobacco coffee milk cotton timber steel coal copper gas fish wine bread butter
    maize salt wool tea paper cheese alcohol
""")
LEVIES = {  # headlines turn them round: the wool tax
    "the tax on": "tax",
    "duties on": "duties",
    "subsidies for": "subsidies",
    "the tariff on": "tariff",
}
TRADE = {"exports of": "exports", "imports of": "imports", "the production of": "output", "sales of": "sales"}
PRICES = {"the price of": "price", "stocks of": "stocks"} | TRADE
TOPICS = _words("""
    pension prison tax forest water school bank border road energy rent land hospital fishing internet food
    waste housing airport railway
""")
CHANGES = {"reform": "reform", "protection": "protection", "control": "control", "privatization": "sell-off",
           "improvement": "upgrade", "financing": "funding", "supervision": "oversight"}  # fmt: skip
PAPERS = {"law on": "law", "plan for": "plan", "proposal for": "proposal", "treaty on": "treaty", "report on": "report",
          "agreement on": "deal", "programme for": "programme"}  # fmt: skip
PLURALS = {"pension": "pensions", "prison": "prisons", "tax": "taxes", "forest": "forests", "school": "schools",
           "bank": "banks", "border": "borders", "road": "roads", "rent": "rents", "hospital": "hospitals",
           "airport": "airports", "railway": "railways", "internet": "the internet"}  # fmt: skip
CRIMES = {  # men suspected of ...: headlines have the doer
    "smuggling": "smugglers",
    "stealing": "thieves",
    "forging": "forgers",
    "selling": "dealers",
}
LOOT = _words("""
    cigarettes paintings passports weapons drugs jewels banknotes ivory medicines cars
""")
LOOT_IN_FRONT = {"cigarettes": "cigarette", "paintings": "art", "passports": "passport", "weapons": "arms",
                 "drugs": "drug", "jewels": "jewel", "banknotes": "banknote", "medicines": "medicine",
                 "cars": "car"}  # fmt: skip
MEETINGS = {"talks with {} on": "talks with {}", "a conference with {} on": "conference with {}",
            "a meeting with {} on": "meeting with {}", "negotiations with {} on": "talks with {}"}  # fmt: skip
PRODUCTS = {"a vaccine against": "vaccine", "a drug for the treatment of": "drug", "a test for": "test",
            "a cure for": "cure"}  # fmt: skip
DISEASES = _words("""
    malaria asthma flu cancer diabetes measles cholera migraine polio allergies
""")
AID = {"a loan": "loan", "a grant": "grant", "a credit": "credit", "an aid package": "aid"}
DISASTERS = (  # what happened, the noun of headlines, who may be hurt
    ("a train derailed", "train crash", "passengers"),
    ("a bus overturned", "bus crash", "passengers tourists children"),
    ("a ferry sank", "ferry accident", "passengers sailors"),
    ("a mine collapsed", "mine accident", "miners"),
    ("a hotel burned down", "hotel fire", "guests tourists"),
    ("an earthquake struck", "quake", "people children"),
    ("a river flooded its banks", "floods", "people villagers"),
    ("a cargo plane crashed", "plane crash", "people soldiers"),
    ("a chemical factory exploded", "factory blast", "workers"),
    ("an avalanche came down", "avalanche", "skiers soldiers tourists"),
)
SPORTS = {  # how many goals or points the loser may have, and how many more the winner
    "football": (0, 3, 3),
    "basketball": (58, 90, 25),
    "handball": (17, 31, 10),
    "hockey": (0, 4, 4),
    "volleyball": (0, 2, 1),
    "rugby": (6, 28, 20),
}
ROUNDS = ("final", "semi-final", "quarter-final", "first round", "opening match")
POSTS = {"chairman": "chairman", "director general": "head", "chief executive": "ceo", "finance director": "cfo",
         "spokesman": "spokesman"}  # fmt: skip

_IRREGULAR = {  # past, participle, -ing
    "build": ("built", "built", "building"),
    "buy": ("bought", "bought", "buying"),
    "sell": ("sold", "sold", "selling"),
    "shut": ("shut", "shut", "shutting"),
    "cut": ("cut", "cut", "cutting"),
    "ban": ("banned", "banned", "banning"),
    "put": ("put", "put", "putting"),
    "stop": ("stopped", "stopped", "stopping"),
    "scrap": ("scrapped", "scrapped", "scrapping"),
    "hold": ("held", "held", "holding"),
    "find": ("found", "found", "finding"),
    "give": ("gave", "given", "giving"),
    "freeze": ("froze", "frozen", "freezing"),
    "begin": ("began", "begun", "beginning"),
    "free": ("freed", "freed", "freeing"),
    "slam": ("slammed", "slammed", "slamming"),
    "sue": ("sued", "sued", "suing"),
    "cancel": ("cancelled", "cancelled", "cancelling"),
    "expel": ("expelled", "expelled", "expelling"),
    "withdraw": ("withdrew", "withdrawn", "withdrawing"),
    "take": ("took", "taken", "taking"),
    "call": ("called", "called", "calling"),
    "drop": ("dropped", "dropped", "dropping"),
}


@dataclass(frozen=True)
class Verb:
    """The forms of one verb; `particle` follows each (put off)."""

    base: str
    third: str
    past: str
    participle: str
    ing: str


def verb(text: str) -> Verb:
    """Return the forms of a verb such as `build` or `put_off`."""
    base, _, particle = text.partition("_")
    e, y = base.endswith("e"), base.endswith("y") and base[-2] not in "aeiou"
    third = base[:-1] + "ies" if y else base + ("es" if base.endswith(("s", "sh", "ch", "x")) else "s")
    past = base + "d" if e else base[:-1] + "ied" if y else base + "ed"
    forms = _IRREGULAR.get(base, (past, past, (base[:-1] if e else base) + "ing"))
    after = f" {particle}" if particle else ""
    return Verb(*(form + after for form in (base, third, *forms)))


@dataclass(frozen=True)
class Action:
    """What headlines say by one verb (`head`), texts by several or by a noun ("the construction of")."""

    head: Verb
    verbs: tuple[Verb, ...]
    noun: str


def _actions(text: str) -> tuple[Action, ...]:
    rows = ([cell.strip() for cell in row.split("|")] for row in text.strip().splitlines())
    return tuple(Action(verb(head), tuple(map(verb, verbs.split())), noun) for head, verbs, noun in rows)


# headline's verb | texts' verbs | texts' noun; by what the verb is about
ACTIONS = {
    "building": _actions("""
        build | build construct | the construction of
        close | close shut_down | the closure of
        open | open inaugurate | the opening of
        buy | buy purchase acquire | the purchase of
        sell | sell auction_off | the sale of
        repair | repair renovate restore | the renovation of
        search | search inspect | the inspection of
        """),
    "levy": _actions("""
        cut | reduce lower cut | a reduction of
        raise | raise increase | an increase of
        freeze | freeze | a freeze of
        scrap | abolish drop | the abolition of
        """),
    "trade": _actions("""
        ban | prohibit ban outlaw | a ban on
        limit | restrict limit | a restriction of
        cut | reduce cut | a reduction of
        boost | promote encourage | the promotion of
        """),
    "paper": _actions("""
        back | approve support endorse | the approval of
        reject | reject turn_down | the rejection of
        delay | postpone put_off delay | the postponement of
        change | amend revise change | a revision of
        scrap | abandon withdraw | the withdrawal of
        slam | criticize denounce condemn | the condemnation of
        study | examine study | an examination of
        """),
    "people": _actions("""
        hold | arrest detain | the arrest of
        free | release free | the release of
        question | interrogate question | the interrogation of
        expel | deport expel | the expulsion of
        """),
    "loot": _actions("""
        seize | confiscate seize | the seizure of
        find | discover find | the discovery of
        destroy | burn destroy | the destruction of
        """),
    "firm": _actions("""
        buy | acquire take_over purchase | the takeover of
        sue | sue | a lawsuit against
        probe | investigate look_into | an investigation of
        rescue | rescue bail_out | the rescue of
        sell | sell | the sale of
        """),
    "meeting": _actions("""
        delay | postpone put_off | the postponement of
        cancel | cancel call_off | the cancellation of
        launch | begin launch open | the start of
        boycott | boycott | a boycott of
        host | host organize | the organization of
        """),
    "aid": _actions("""
        give | grant offer provide | the payment of
        block | block stop | the suspension of
        pledge | promise pledge | the promise of
        """),
    "jobs": _actions("""
        cut | eliminate cut | the loss of
        add | create add | the creation of
        """),
    "product": _actions("""
        test | try_out test | a trial of
        launch | launch introduce | the introduction of
        develop | develop design | the development of
        unveil | present unveil | the presentation of
        """),
}
