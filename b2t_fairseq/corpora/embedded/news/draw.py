"""Who acts and on what: each a phrase as texts say it and as headlines do."""

from __future__ import annotations

from dataclasses import dataclass

from ..choices import Choices
from . import words as w


@dataclass(frozen=True)
class Phrase:
    """One thing, said twice.

    Attributes:
        text: as a text says it.
        head: as a headline does.
        plural: whether verbs are plural after it.
        pronoun: it, they, he or she; "" for what doesn't act.
        gloss: an apposition that a text may add, and headlines drop.
        country: whose government, ministry, city it is; None for a company or a body.
        city: for a council.
    """

    text: str
    head: str
    plural: bool = False
    pronoun: str = "it"
    gloss: str = ""
    country: w.Country | None = None
    city: str = ""


def article(noun: str) -> str:
    """Return a noun after a or an."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


class Draw(Choices):
    """A seeded source of phrases."""

    def country(self) -> w.Country:
        return self.zipf(w.COUNTRIES)

    def nation(self, country: w.Country) -> str:
        """Return a country's name as texts have it."""
        return f"the {country.name}" if country.name in w.ARTICLED else country.name

    def city(self, country: w.Country | None = None) -> str:
        return self.zipf((country or self.country()).cities)

    def of_country(self, country: w.Country, what: str) -> str:
        """Say that something belongs to a country: headlines put the adjective in front."""
        name, kind = self.nation(country), self.of(front=35, of=40, s=25)
        if kind == "front":
            return f"the {country.adjective} {what}"
        return f"the {what} of {name}" if kind == "of" else f"{name} 's {what}"

    # --- who acts ---------------------------------------------------------------------------------------------------

    def agent(self, kinds: str) -> Phrase:
        """Draw one of the kinds, e.g. "government company"."""
        return getattr(self, self.zipf(kinds.split()))()

    def government(self) -> Phrase:
        country = self.country()
        if self.chance(0.3):
            return Phrase(f"the government in {country.cities[0]}", country.name, country=country)
        return Phrase(self.of_country(country, "government"), country.name, country=country)

    def ministry(self) -> Phrase:
        country, field = self.country(), self.zipf(w.MINISTRIES)
        head = f"{country.adjective} {field} ministry"
        if self.chance(0.3):
            field = "foreign affairs" if field == "foreign" else field
            return Phrase(f"the ministry of {field} in {country.cities[0]}", head, country=country)
        return Phrase(self.of_country(country, f"{field} ministry"), head, country=country)

    def person(self) -> tuple[str, str, str]:
        """Draw first name, surname and pronoun."""
        first = self.zipf(w.FIRST_NAMES)
        return first, self.zipf(w.SURNAMES), "she" if first in w.FEMALE else "he"

    def minister(self) -> Phrase:
        country, field = self.country(), self.zipf(w.MINISTRIES)
        first, last, pronoun = self.person()
        head = f"{country.adjective} {field} minister"
        if self.chance(0.4):
            return Phrase(f"{head} {first} {last}", head, False, pronoun, country=country)
        post = self.of_country(country, f"{field} minister")
        if self.chance(0.5):
            return Phrase(post, head, False, pronoun, f"{first} {last}", country)
        return Phrase(f"{first} {last} , {post} ,", head, False, pronoun, country=country)

    def company(self) -> Phrase:
        name, kind = self.zipf(w.FIRMS), self.zipf(tuple(w.FIRM_KINDS))
        country, maker = self.country(), w.FIRM_KINDS[kind]
        rank = self.zipf(("the largest", "the second largest", "the oldest"))
        gloss = self.zipf((f"{rank} {maker} in {self.nation(country)}", article(f"{country.adjective} {maker}"),
                           f"which employs {self.number(20, 90)}00 people"))  # fmt: skip
        return Phrase(f"{name} {kind}", f"{name} {kind}", gloss=gloss)

    def unnamed(self) -> Phrase:
        """Draw a company by its trade and town: headlines make the town a nationality."""
        country, maker = self.country(), w.FIRM_KINDS[self.zipf(tuple(w.FIRM_KINDS))]
        how = self.zipf(("based in", "with headquarters in", "from"))
        return Phrase(f"{article(maker)} {how} {self.city(country)}", f"{country.adjective} {maker}")

    def group(self) -> Phrase:
        country, who = self.country(), self.zipf(w.GROUPS)
        head = f"{country.adjective} {who}"
        if self.chance(0.4):
            many = self.zipf(("hundreds of", "thousands of", "a group of"))
            return Phrase(f"{many} {who} in {self.city(country)}", head, True, "they")
        if self.chance(0.5):
            return Phrase(f"{who} in {self.nation(country)}", head, True, "they")
        return Phrase(f"the union of {country.adjective} {who}", f"{head} union")

    def court(self) -> Phrase:
        country = self.country()
        court = self.zipf(("a court in", "a judge in", "the highest court in"))
        return Phrase(f"{court} {self.city(country)}", f"{country.adjective} {court.split()[-2]}")

    def police(self) -> Phrase:
        city = self.city()
        return Phrase(self.zipf((f"police in {city}", f"police officers in {city}")), f"{city} police", True, "they")

    def customs(self) -> Phrase:
        country = self.country()
        return Phrase(f"customs officers in {self.city(country)}", f"{country.adjective} customs", True, "they")

    def council(self) -> Phrase:
        country = self.country()
        city = self.city(country)
        names = f"the city council of {city}", f"the council in {city}"
        return Phrase(self.zipf(names), f"{city} council", country=country, city=city)

    def scientists(self) -> Phrase:
        city = self.city()
        who = self.zipf(("scientists", "researchers"))
        return Phrase(f"{who} at the university of {city}", f"{city} scientists", True, "they")

    def body(self) -> Phrase:
        name = self.zipf(tuple(w.BODIES))
        return Phrase(name, w.BODIES[name])

    # --- what it is about -------------------------------------------------------------------------------------------

    def thing(self, kind: str, agent: Phrase) -> Phrase:
        """Draw what verbs of a kind (`words.ACTIONS`) are about, fit for the agent."""
        if kind == "building":
            return self.building(agent.city or self.city(agent.country))
        if kind == "meeting":
            return self.meeting(agent.country)
        return getattr(self, kind)()

    def building(self, city: str) -> Phrase:
        names = self.zipf(w.BUILDINGS)
        size = self.zipf(("new ", "old ", "large ", "second ", "small ")) if self.chance(0.4) else ""
        where = self.zipf(("in", "near", "in the centre of", "outside"))
        return Phrase(f"the {size}{names[0]} {where} {city}", f"{city} {names[-1]}")

    def of_goods(self, table: dict[str, str]) -> Phrase:
        """Draw one of the table's rows, of some goods."""
        rate, goods = self.zipf(tuple(table)), self.zipf(w.GOODS)
        return Phrase(f"{rate} {goods}", f"{goods} {table[rate]}", not rate.startswith("the "))

    def levy(self) -> Phrase:
        return self.of_goods(w.LEVIES)

    def trade(self) -> Phrase:
        return self.of_goods(w.TRADE)

    def paper(self) -> Phrase:
        paper, change, topic = self.zipf(tuple(w.PAPERS)), self.zipf(tuple(w.CHANGES)), self.zipf(w.TOPICS)
        by = w.PLURALS.get(topic, topic)
        new = self.zipf(("new ", "controversial ", "long-awaited ")) if self.chance(0.4) else ""
        return Phrase(f"the {new}{paper} the {change} of {by}", f"{topic} {w.CHANGES[change]} {w.PAPERS[paper]}")

    def number(self, low: int, high: int) -> int:
        """Draw a number, the small ones likelier."""
        return low + int((high - low) * self.random() ** 2)

    def count(self) -> tuple[str, int]:
        """Draw a small number: texts spell it, headlines don't."""
        number = self.number(2, 21)
        return w.NUMERALS[number - 2], number

    def people(self) -> Phrase:
        (spelled, number), country = self.count(), self.country()
        crime, loot = self.zipf(tuple(w.CRIMES)), self.zipf(w.LOOT)
        head = f"{number} {w.LOOT_IN_FRONT.get(loot, loot)} {w.CRIMES[crime]}"
        who = self.zipf((f"{spelled} men", f"{spelled} people", f"{spelled} {country.adjective} men"))
        return Phrase(f"{who} {self.zipf(('suspected', 'accused'))} of {crime} {loot}", head, True)

    def loot(self) -> Phrase:
        amount, goods = self.number(2, 90) * 10, self.zipf(("heroin", "ivory", "cocaine", "gold", "silver", "tobacco"))
        if self.chance(0.5):
            return Phrase(f"{amount} kilograms of {goods}", f"{amount} kg of {goods}", True)
        (spelled, number), goods = (
            self.count(),
            self.zipf(("paintings", "statues", "rifles", "passports")),
        )
        return Phrase(f"{spelled} {self.zipf(('stolen ', 'hidden ', ''))}{goods}", f"{number} {goods}", True)

    def firm(self) -> Phrase:
        return self.agent("company company unnamed")

    def meeting(self, host: w.Country | None) -> Phrase:
        meeting, country, topic = self.zipf(tuple(w.MEETINGS)), self.country(), self.zipf(w.TOPICS)
        while country == host:
            country = self.country()
        name = self.nation(country)
        by = w.PLURALS.get(topic, topic)
        head = f"{topic} {w.MEETINGS[meeting].format(country.name)}"
        return Phrase(f"{meeting.format(name)} {by}", head, not meeting.startswith("a "))

    def money(self) -> tuple[str, str]:
        """Draw a sum of money."""
        amount = self.zipf((20, 40, 50, 100, 30, 200, 15, 60, 500, 25, 80, 120, 300, 75, 90))
        unit, short = self.zipf((("million", "mln"), ("billion", "bln")))
        if unit == "billion" and amount > 100:
            amount //= 100
        return f"{amount} {unit}", f"{amount} {short}"

    def aid(self) -> Phrase:
        aid, country, (amount, short) = self.zipf(tuple(w.AID)), self.country(), self.money()
        what = f"{aid} of {amount} dollars"
        return Phrase(f"{what} to {self.nation(country)}", f"{short} dlr {w.AID[aid]} to {country.name}")

    def jobs(self) -> Phrase:
        country, number = self.country(), self.number(3, 80) * 100
        where = self.zipf(("at its offices in", "at its plants in", "in"))
        return Phrase(f"{number} jobs {where} {self.nation(country)}", f"{number} {country.adjective} jobs", True)

    def product(self) -> Phrase:
        product, disease = self.zipf(tuple(w.PRODUCTS)), self.zipf(w.DISEASES)
        new = product.replace("a ", self.zipf(("a new ", "a cheap ", "an experimental ")), 1)
        return Phrase(f"{new if self.chance(0.5) else product} {disease}", f"{disease} {w.PRODUCTS[product]}")

    # --- when, and who says so --------------------------------------------------------------------------------------

    def day(self) -> str:
        """Draw when the news happened."""
        kind, day = self.of(day=45, on=25, week=15, month=15), self.zipf(w.DAYS)
        if kind in ("day", "on"):
            return day if kind == "day" else f"{self.zipf(('on', 'late on', 'early on'))} {day}"
        return self.zipf(("this week", "earlier this week")) if kind == "week" else f"in {self.zipf(w.MONTHS)}"

    def past(self) -> str:
        """Draw when something happened that is no longer news."""
        return self.zipf(("last year", "last week", "last month", "two years ago", "in the spring", "last summer"))

    def future(self) -> str:
        return self.zipf(("next year", "next month", "by the end of the year", "next week", "in the autumn"))

    def source(self) -> str:
        """Draw who reports the news, as a subject of `said`."""
        kind = self.of(plain=40, spokesman=25, paper=20, agency=15)
        if kind == "plain":
            return self.zipf(("officials", "a spokesman", "a spokeswoman", "a report", "observers"))
        if kind == "spokesman":
            first, last, pronoun = self.person()
            return f"{first} {last} , a spokes{'woman' if pronoun == 'she' else 'man'} ,"
        return self.zipf(w.NEWSPAPERS if kind == "paper" else w.AGENCIES)
