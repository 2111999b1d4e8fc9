"""Events of the news: each is said once as a clause of a text and once as a headline.

A clause begins in lower case unless a name begins it, so that it can stand after "According to officials,". What may be
left out of a headline is drawn around the clause: who reports it, when, and what happened before and after.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any

from . import words as w

#: a clause and its headline
Event = tuple[str, str]
ZIPF_EXPONENT = 0.5  # how fast a word's frequency falls with its rank in its list


@cache
def zipf_weights(count: int) -> list[float]:
    """Return cumulated weights of `count` words, the earlier the likelier."""
    return list(accumulate((rank + 2) ** -ZIPF_EXPONENT for rank in range(count)))


def number_words(number: int) -> str:
    """Return a whole number as texts have it, 12,000."""
    return f"{number:,}"


class News(random.Random):
    """A seeded source of news. Uses only choices whose results are the same in every Python version."""

    def chance(self, probability: float) -> bool:
        """Return whether something with this probability happens."""
        return self.random() < probability

    def one(self, items: Any) -> Any:
        """Draw one of `items`, the earlier the likelier."""
        return self.choices(items, cum_weights=zipf_weights(len(items)))[0]

    def any_of(self, *items: str) -> str:
        """Draw one of `items`, all alike."""
        return self.choices(items)[0]

    def count(self, least: int, most: int) -> int:
        """Draw a whole number."""
        return least + int(self.random() * (most - least + 1))

    # ---- who and where

    def company(self) -> tuple[str, str]:
        """Return a company as a text has it, often with a clause about it, and its name."""
        stem, (trade, industry) = self.one(w.STEMS), self.one(w.TRADES)
        name = f"{stem} {trade}"
        kind = self.random()
        if kind < 0.55:
            return name, name
        if kind < 0.7:
            return f"{name}, the largest {industry} group in {self.one(w.COUNTRIES)[0]},", name
        if kind < 0.85:
            return f"{name}, which employs {number_words(100 * self.count(5, 400))} people,", name
        return f"the {industry} group {name}", name

    def two_countries(self) -> tuple[str, str]:
        """Return two different countries."""
        first = self.one(w.COUNTRIES)[0]
        while (second := self.one(w.COUNTRIES)[0]) == first:
            pass
        return first, second

    # ---- events

    def building(self) -> Event:
        """Let a company plan a building."""
        (company, name), place, town = self.company(), self.one(w.BUILDINGS), self.one(w.TOWNS)
        headline = f"{name} to build {place} near {town}"
        kind = self.random()
        if kind < 0.4:
            return f"{company} would build a new {place} near {town}", headline
        if kind < 0.7:
            return f"a new {place} would be built near {town} by {company}".rstrip(","), headline
        cost = self.count(2, 90) * 10
        return f"{company} planned to spend {cost} million dollars on a {place} near {town}", headline

    def profit(self) -> Event:
        """Let a company's profit or sales change."""
        (company, name), what = self.company(), self.any_of("profit", "sales")
        up, percent, quarter = self.chance(0.5), self.count(2, 60), self.one(w.QUARTERS)
        headline = f"{name} {what} {'rise' if up else 'fall'}{'s' * (what == 'profit')} {percent} pct"
        verb = self.any_of("rose", "climbed", "grew") if up else self.any_of("fell", "dropped", "shrank")
        many = "profits" if what == "profit" else "sales"
        if self.chance(0.5):
            return f"{many} at {company} {verb} by {percent} percent in the {quarter} quarter", headline
        better = "higher" if up else "lower"
        return f"{company} earned {percent} percent {better} {many} in the {quarter} quarter", headline

    def takeover(self) -> Event:
        """Let a company buy another one."""
        (buyer, name), (bought, other) = self.company(), self.company()
        while other == name:
            bought, other = self.company()
        millions = 10 * self.count(3, 90)
        headline = f"{name} to buy {other} for ${millions} mln"
        if self.chance(0.5):
            return f"{buyer} had agreed to buy {bought} for {millions} million dollars".replace(",,", ","), headline
        return f"{bought} would be taken over by {buyer} for {millions} million dollars", headline

    def resignation(self) -> Event:
        """Let a minister resign."""
        (country, adjective), portfolio = self.one(w.COUNTRIES), self.one(w.PORTFOLIOS)
        reason, short = self.one(w.REASONS)
        headline = f"{adjective} {portfolio} minister resigns over {short}"
        verb = self.any_of("stepped down", "resigned", "gave up his post")
        return f"the {portfolio} minister of {country} {verb} {reason}", headline

    def disaster(self) -> Event:
        """Let nature strike a country."""
        long, short = self.one(w.DISASTERS)
        country, (adjective, where), dead = self.one(w.COUNTRIES)[0], self.one(w.DIRECTIONS), self.count(2, 90)
        headline = f"{short} kill{'s' * (short[-1] != 's')} {dead} in {adjective} {country}"
        long = long[0].lower() + long[1:]
        if self.chance(0.5):
            return f"{long} in {where} {country} left at least {dead} people dead", headline
        return f"at least {dead} people were killed when {long} struck {where} {country}", headline

    def sentence(self) -> Event:
        """Let a court send somebody to prison."""
        town, (crime, short), years = self.one(w.TOWNS), self.one(w.CRIMES), self.count(2, 15)
        convict = self.one(w.CONVICTS)
        headline = f"{town} court jails ex-{convict} for {short}"
        if self.chance(0.5):
            return f"a court in {town} sentenced a former {convict} to {years} years in prison for {crime}", headline
        return f"a former {convict} was sent to prison for {years} years by a court in {town} for {crime}", headline

    def match(self) -> Event:
        """Let one country beat another one."""
        winner, loser = self.two_countries()
        goals = self.count(1, 5)
        result, town = f"{goals}-{self.count(0, goals - 1)}", self.one(w.TOWNS)
        headline = f"{winner} beats {loser} {result}"
        if self.chance(0.5):
            return f"{winner} won {result} against {loser} in a friendly match in {town}", headline
        return f"{loser} were beaten {result} by {winner} in {town}", headline

    def talks(self) -> Event:
        """Let two countries plan talks."""
        (first, second), topic, month = self.two_countries(), self.one(w.TOPICS), self.one(w.MONTHS)
        headline = f"{first}, {second} to begin {topic} talks"
        if self.chance(0.5):
            return f"{first} and {second} would begin talks on {topic} in {month}", headline
        return f"talks on {topic} between {first} and {second} were to begin in {month}", headline

    def strike(self) -> Event:
        """Let workers walk out."""
        (company, name), (demand, short) = self.company(), self.one(w.DEMANDS)
        headline = f"{name} workers strike over {short}"
        people = number_words(100 * self.count(2, 90))
        if self.chance(0.5):
            return f"{people} workers at {company} walked out to demand {demand}", headline
        return f"production at {company} stood still because {people} workers demanded {demand}", headline

    def interest(self) -> Event:
        """Let a central bank move its rate."""
        (country, adjective), up = self.one(w.COUNTRIES), self.chance(0.5)
        rate = f"{self.count(1, 9)}.{self.any_of('25', '5', '75')}"
        headline = f"{adjective} central bank {'raises' if up else 'cuts'} rate to {rate} pct"
        verb = self.any_of("raised", "lifted") if up else self.any_of("cut", "lowered")
        if self.chance(0.6):
            return f"the central bank of {country} {verb} its key interest rate to {rate} percent", headline
        return f"the key interest rate of {country} was {verb} to {rate} percent by the central bank", headline

    def arrest(self) -> Event:
        """Let the police arrest people."""
        town, (incident, short), suspects = self.one(w.TOWNS), self.one(w.INCIDENTS), self.count(2, 40)
        headline = f"{town} police arrest {suspects} over {short}"
        if self.chance(0.5):
            return f"police in {town} arrested {suspects} people after {incident}", headline
        return f"after {incident} {suspects} people were arrested by police in {town}", headline

    def recall(self) -> Event:
        """Let a company call products back."""
        (company, name), product, (fault, short) = self.company(), self.one(w.PRODUCTS), self.one(w.FAULTS)
        many = product[:-1] + "ies" if product.endswith("y") and product != "toy" else product + "s"
        pieces = number_words(1000 * self.count(2, 90))
        headline = f"{name} recalls {many} over {short}"
        return f"{company} called back {pieces} {many} {fault}", headline

    # ---- texts

    def event(self) -> Event:
        """Draw an event."""
        kinds: tuple[Callable[[], Event], ...] = (
            *(self.building, self.profit, self.takeover, self.resignation, self.disaster, self.sentence),
            *(self.match, self.talks, self.strike, self.interest, self.arrest, self.recall),
        )
        return self.choices(kinds)[0]()

    def pair(self) -> tuple[str, str]:
        """Return a text and its headline."""
        clause, headline = self.event()
        told = self.told(clause)
        if self.chance(0.35):
            told = f"{self.before()} {told}"
        if self.chance(0.25):
            told = f"{told} {self.after()}"
        return told.replace(",,", ",").replace(",.", "."), headline

    def told(self, clause: str) -> str:
        """Return a clause as a sentence, with who tells it and when."""
        day, source, kind = self.one(w.DAYS), self.one(w.SOURCES), self.random()
        start = clause[0].upper() + clause[1:]
        if kind < 0.25:
            return f"{start}, {source} said on {day}."
        if kind < 0.45:
            return f"According to {source}, {clause}."
        if kind < 0.65:
            return f"{source[0].upper()}{source[1:]} reported on {day} that {clause}."
        if kind < 0.8:
            return f"On {day}, {self.any_of(*w.ANALYSTS)}, it was announced that {clause}."
        return f"{start}, it became known on {day}."

    def before(self) -> str:
        """Return a sentence about something older, which the headline leaves out."""
        kind, company, month = self.random(), f"{self.one(w.STEMS)} {self.one(w.TRADES)[0]}", self.one(w.MONTHS)
        if kind < 0.35:
            return f"In {month} {company} had closed a {self.one(w.BUILDINGS)} in {self.one(w.TOWNS)}."
        if kind < 0.7:
            first, second = self.two_countries()
            return f"Last year {first} had signed a treaty on {self.one(w.TOPICS)} with {second}."
        return f"Shares of {company} had already lost {self.count(2, 30)} percent since {month}."

    def after(self) -> str:
        """Return a sentence about what follows, which the headline leaves out."""
        kind = self.random()
        if kind < 0.4:
            return f"A spokesman declined to comment on the report when asked in {self.one(w.TOWNS)}."
        if kind < 0.7:
            return f"Further details are to be given to parliament in {self.one(w.MONTHS)}."
        return f"The opposition in {self.one(w.COUNTRIES)[0]} called the news long overdue."
