"""Numbers, clock times and dates written out, as English-German pairs."""

from __future__ import annotations


def _row(text: str) -> list[str]:
    return text.split()


_EN = _row(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_EN_TENS = _row("- - twenty thirty forty fifty sixty seventy eighty ninety")
_DE = _row(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn"
)
_DE_TENS = _row("- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
_EN_ORDINALS = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}
_DE_ORDINALS = {1: "erst", 3: "dritt", 7: "siebt", 8: "acht"}
MONTHS = tuple(
    pair.split("/")
    for pair in _row(
        "May/Mai July/Juli March/März June/Juni April/April August/August September/September October/Oktober "
        "December/Dezember January/Januar February/Februar November/November"
    )
)
DAYS = tuple(
    pair.split("/")
    for pair in _row(
        "Monday/Montag Friday/Freitag Saturday/Samstag Sunday/Sonntag Wednesday/Mittwoch Tuesday/Dienstag "
        "Thursday/Donnerstag"
    )
)


def cardinal(n: int) -> tuple[str, str]:
    """Return n in words, 0 <= n < 100: 21 -> ('twenty-one', 'einundzwanzig')."""
    if n < 20:
        return _EN[n], _DE[n]
    tens, unit = divmod(n, 10)
    if unit == 0:
        return _EN_TENS[tens], _DE_TENS[tens]
    # The unit comes first in German, and eins loses its s: einundzwanzig.
    return f"{_EN_TENS[tens]}-{_EN[unit]}", f"{'ein' if unit == 1 else _DE[unit]}und{_DE_TENS[tens]}"


def ordinal(n: int) -> tuple[str, str]:
    """Return n as an ordinal, 1 <= n <= 31; the German one lacks its adjective ending: 3 -> ('third', 'dritt')."""
    en, de = cardinal(n)
    if n >= 20:
        head, _, unit = en.partition("-")
        english = f"{head}-{ordinal(n % 10)[0]}" if unit else f"{head[:-1]}ieth"
        return english, de + "st"
    return _EN_ORDINALS.get(n, en + "th"), _DE_ORDINALS.get(n, de + "t")


def clock(hour: int, minute: int) -> tuple[str, str]:
    """Return a time of day on the twelve-hour clock: (2, 30) -> ('half past two', 'halb drei')."""
    en, de = cardinal(hour)
    next_en, next_de = cardinal(hour % 12 + 1)
    if minute == 0:
        return f"{en} o'clock", f"{'ein' if hour == 1 else de} Uhr"
    if minute == 30:
        return f"half past {en}", f"halb {next_de}"
    if minute == 15:
        return f"quarter past {en}", f"Viertel nach {de}"
    if minute == 45:
        return f"quarter to {next_en}", f"Viertel vor {next_de}"
    en_minutes, de_minutes = cardinal(minute if minute < 30 else 60 - minute)
    if minute < 30:
        return f"{en_minutes} past {en}", f"{de_minutes} nach {de}"
    return f"{en_minutes} to {next_en}", f"{de_minutes} vor {next_de}"


def date(day: int, month: tuple[str, str] | list[str], case: str = "dat") -> tuple[str, str]:
    """Return a date after 'on' / 'am' (dative) or alone (nominative): ('the third of May', 'dritten Mai')."""
    en, de = ordinal(day)
    return f"the {en} of {month[0]}", f"{de}{'en' if case == 'dat' else 'e'} {month[1]}"
