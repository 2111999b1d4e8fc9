"""The words: nouns with gender and plural, adjectives, verbs with principal parts and complements.

Within a group, words are listed in order of frequency: a word's rank sets how often it is drawn (Zipf).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Noun:
    """English singular and plural; German gender (m, f, n), singular and plural; the semantic group it belongs to."""

    en: str
    en_plural: str
    gender: str
    de: str
    de_plural: str
    group: str
    weak: bool = False  # n-declension: der Junge, den Jungen


@dataclass(frozen=True)
class Adjective:
    """`de` as a predicate (teuer, müde), `stem` what takes the endings (teur-, müd-)."""

    en: str
    de: str
    stem: str


@dataclass(frozen=True)
class Verb:
    """Principal parts. `prefix` is the separable part (ankommen: an), `particle` the English one (pick up: up)."""

    en: str
    past: str
    particle: str
    prefix: str
    de: str  # infinitive without the separable prefix
    present: tuple[str, str, str, str]  # ich, du, er, wir/sie
    participle: str
    auxiliary: str = "haben"
    preterite: str = ""  # if given, the German past is this form and not the perfect
    complements: str = ""  # e.g. "dat:person acc:gift", "for>auf+acc:person"

    @property
    def infinitive(self) -> str:
        return self.prefix + self.de


# english plural gender German plural; '+' after the gender marks the weak declension, '-' as plural a mass noun.
_NOUNS = {
    "person": """
        man men m Mann Männer; woman women f Frau Frauen; child children n Kind Kinder;
        teacher teachers m Lehrer Lehrer;
        doctor doctors f Ärztin Ärztinnen; boy boys m+ Junge Jungen; girl girls n Mädchen Mädchen;
        neighbour neighbours m+ Nachbar Nachbarn; student students f Studentin Studentinnen;
        colleague colleagues m+ Kollege Kollegen""",
    "kin": """
        friend friends m Freund Freunde; sister sisters f Schwester Schwestern; brother brothers m Bruder Brüder;
        mother mothers f Mutter Mütter; father fathers m Vater Väter; daughter daughters f Tochter Töchter;
        son sons m Sohn Söhne; aunt aunts f Tante Tanten; uncle uncles m Onkel Onkel""",
    "animal": "dog dogs m Hund Hunde; cat cats f Katze Katzen; horse horses n Pferd Pferde; bird birds m Vogel Vögel",
    "print": """
        book books n Buch Bücher; newspaper newspapers f Zeitung Zeitungen;
        picture_book picture_books n Bilderbuch Bilderbücher; school_book school_books n Schulbuch Schulbücher""",
    "letter": "letter letters m Brief Briefe",
    "food": """
        apple apples m Apfel Äpfel; cake cakes m Kuchen Kuchen; soup - f Suppe -; egg eggs n Ei Eier;
        apple_cake apple_cakes m Apfelkuchen Apfelkuchen; potato_soup - f Kartoffelsuppe -;
        bread - n Brot -""",
    "drink": "coffee - m Kaffee -; tea - m Tee -; water - n Wasser -; milk - f Milch -",
    "clothes": """
        coat coats m Mantel Mäntel; dress dresses n Kleid Kleider; jacket jackets f Jacke Jacken; hat hats m Hut Hüte;
        shirt shirts n Hemd Hemden; winter_coat winter_coats m Wintermantel Wintermäntel;
        summer_dress summer_dresses n Sommerkleid Sommerkleider;
        winter_jacket winter_jackets f Winterjacke Winterjacken""",
    "small": """
        key keys m Schlüssel Schlüssel; picture pictures n Bild Bilder; car_key car_keys m Autoschlüssel Autoschlüssel;
        house_key house_keys m Hausschlüssel Hausschlüssel""",
    "upright": """
        bag bags f Tasche Taschen; chair chairs m Stuhl Stühle; lamp lamps f Lampe Lampen;
        bottle bottles f Flasche Flaschen;
        bicycle bicycles n Fahrrad Fahrräder; garden_chair garden_chairs m Gartenstuhl Gartenstühle;
        school_bag school_bags f Schultasche Schultaschen""",
    "vehicle": "car cars n Auto Autos",
    "furniture": """
        table tables m Tisch Tische; bed beds n Bett Betten; kitchen_table kitchen_tables m Küchentisch Küchentische""",
    "room": """
        garden gardens m Garten Gärten; kitchen kitchens f Küche Küchen; room rooms n Zimmer Zimmer;
        house houses n Haus Häuser""",
    "town": """
        city cities f Stadt Städte; park parks m Park Parks; village villages n Dorf Dörfer;
        church churches f Kirche Kirchen;
        city_park city_parks m Stadtpark Stadtparks; hotel hotels n Hotel Hotels;
        village_church village_churches f Dorfkirche Dorfkirchen""",
    "public": """
        school schools f Schule Schulen; museum museums n Museum Museen; library libraries f Bibliothek Bibliotheken;
        city_library city_libraries f Stadtbibliothek Stadtbibliotheken;
        city_museum city_museums n Stadtmuseum Stadtmuseen;
        village_school village_schools f Dorfschule Dorfschulen""",
    "station": "station stations m Bahnhof Bahnhöfe",
    "opening": """
        door doors f Tür Türen; window windows n Fenster Fenster; garden_door garden_doors f Gartentür Gartentüren;
        kitchen_window kitchen_windows n Küchenfenster Küchenfenster; car_door car_doors f Autotür Autotüren;
        kitchen_door kitchen_doors f Küchentür Küchentüren""",
    "transport": """
        train trains m Zug Züge; bus buses m Bus Busse; ship ships n Schiff Schiffe;
        night_train night_trains m Nachtzug Nachtzüge; school_bus school_buses m Schulbus Schulbusse""",
    "event": "film films m Film Filme; concert concerts n Konzert Konzerte; class classes m Kurs Kurse",
}


def _nouns(group: str, table: str) -> tuple[Noun, ...]:
    """Return one group's rows; '_' stands for the space inside an English compound."""
    nouns = []
    for row in table.split(";"):
        en, en_plural, gender, de, de_plural = (cell.replace("_", " ").strip("-") for cell in row.split())
        nouns.append(Noun(en, en_plural, gender[0], de, de_plural, group, weak=gender.endswith("+")))
    return tuple(nouns)


GROUPS = {group: _nouns(group, table) for group, table in _NOUNS.items()}
NOUNS = {noun.en: noun for nouns in GROUPS.values() for noun in nouns}

# What verbs select: unions of groups, most typical first.
CLASSES = {
    "human": "person kin",
    "goods": "clothes print upright vehicle",
    "gift": "print food letter small clothes",
    "seen": "person animal print town small",
    "read": "print letter",
    "sought": "small print animal letter clothes",
    "carried": "upright small print clothes",
    "awaited": "transport kin person",
    "playmate": "animal person kin",
    "visited": "kin person public",
    "known": "person town kin public",
    "owned": "vehicle small clothes upright animal room print",
    "liked": "clothes print vehicle town room animal",
    "lying": "small print letter clothes",
}

ADJECTIVES = {
    en: Adjective(en, de, stem or de)
    for en, de, stem in (
        ("new", "neu", ""),
        ("old", "alt", ""),
        ("big", "groß", ""),
        ("small", "klein", ""),
        ("red", "rot", ""),
        ("blue", "blau", ""),
        ("black", "schwarz", ""),
        ("white", "weiß", ""),
        ("green", "grün", ""),
        ("beautiful", "schön", ""),
        ("cheap", "billig", ""),
        ("expensive", "teuer", "teur"),
        ("long", "lang", ""),
        ("young", "jung", ""),
        ("friendly", "freundlich", ""),
        ("little", "klein", ""),
        ("tall", "groß", ""),
        ("tired", "müde", "müd"),
        ("happy", "glücklich", ""),
        ("ill", "krank", ""),
        ("fresh", "frisch", ""),
        ("warm", "warm", ""),
        ("cold", "kalt", ""),
        ("good", "gut", ""),
        ("quiet", "ruhig", ""),
        ("interesting", "interessant", ""),
        ("open", "offen", ""),
    )
}

_THING = "new old red big small blue beautiful black expensive cheap green white"
ATTRIBUTES = {  # which adjectives go before which group's nouns
    "person": "young old friendly tall tired",
    "animal": "small big old black white young",
    "print": "new old interesting beautiful good",
    "letter": "long old beautiful interesting",
    "food": "fresh good big small",
    "drink": "cold warm fresh",
    "room": "big small beautiful old quiet new",
    "town": "old beautiful small big quiet",
    "public": "new old big small",
    "station": "new old big",
    "opening": "big small old green white",
    "transport": "new old big",
    "event": "new interesting good",
    "furniture": "big small old new white",
}
ATTRIBUTES = {group: ATTRIBUTES.get(group, _THING).split() for group in GROUPS}
_OF_KIN = dict.fromkeys(("sister", "brother", "son", "daughter"), ("little",)) | {"friend": ("good", "old")}
_OF_KIN |= dict.fromkeys(("mother", "father", "aunt", "uncle"), ())
_OF_CHILDREN = dict.fromkeys(("boy", "girl", "child"), ("friendly", "tired", "tall"))
ATTRIBUTES_OF = {noun.en: tuple(ATTRIBUTES[noun.group]) for noun in NOUNS.values()} | _OF_KIN | _OF_CHILDREN
PREDICATES = {  # which adjectives are said of which group's nouns
    "person": "tired happy ill friendly young old",
    "kin": "tired happy ill friendly",
    "animal": "tired old big small young",
    "letter": "long interesting old",
    "food": "good fresh expensive",
    "drink": "cold warm good",
    "print": "interesting new old good",
    "opening": "old small new open",
    "station": "old big new",
    "transport": "new old big",
    "furniture": "old new small big",
    "room": "big small beautiful old quiet cold",
    "town": "beautiful old small quiet big",
    "public": "new old big small",
    "event": "interesting good new",
    "vehicle": "new old expensive small big red",
}
PREDICATES = {group: PREDICATES.get(group, "expensive beautiful new cheap old big small").split() for group in GROUPS}


OPPOSITES = {"old": ("new", "young"), "big": ("small",), "cold": ("warm",), "cheap": ("expensive",), "tall": ("small",)}


def _present(infinitive: str, er: str) -> tuple[str, str, str, str]:
    """Return the forms of ich, du, er, wir/sie from the infinitive and the er-form, which carries any vowel change."""
    stem = er[:-1]
    return infinitive.removesuffix("en") + "e", stem + ("t" if stem[-1] in "sßz" else "st"), er, infinitive


def _verb(row: str) -> Verb:
    en, past, de, er, participle, *rest = (cell.strip() for cell in row.split("|"))
    base, _, particle = en.partition(" ")
    prefix, _, infinitive = de.rpartition("+")
    auxiliary, complements, preterite = ("sein" if rest[0] == "s" else "haben"), *(*rest[1:], "", "")[:2]
    present = _present(infinitive, er)
    return Verb(base, past, particle, prefix, infinitive, present, participle, auxiliary, preterite, complements)


# english | past | german ('+' ends a separable prefix) | er-form | participle | haben or sein | complements | preterite
ACTIONS = tuple(
    _verb(row)
    for row in """
    buy | bought | kaufen | kauft | gekauft | h | acc:goods
    read | read | lesen | liest | gelesen | h | acc:read
    see | saw | sehen | sieht | gesehen | h | acc:seen
    give | gave | geben | gibt | gegeben | h | dat:human acc:gift
    call | called | an+rufen | ruft | angerufen | h | acc:human
    wait | waited | warten | wartet | gewartet | h | for>auf+acc:awaited
    visit | visited | besuchen | besucht | besucht | h | acc:visited
    help | helped | helfen | hilft | geholfen | h | dat:human
    eat | ate | essen | isst | gegessen | h | acc:food
    look | looked | suchen | sucht | gesucht | h | for>acc:sought
    drink | drank | trinken | trinkt | getrunken | h | acc:drink
    open | opened | auf+machen | macht | aufgemacht | h | acc:opening
    talk | talked | sprechen | spricht | gesprochen | h | to>mit+dat:human
    show | showed | zeigen | zeigt | gezeigt | h | dat:human acc:owned
    pick up | picked | ab+holen | holt | abgeholt | h | acc:human
    close | closed | zu+machen | macht | zugemacht | h | acc:opening
    play | played | spielen | spielt | gespielt | h | with>mit+dat:playmate
    take along | took | mit+nehmen | nimmt | mitgenommen | h | acc:carried
    invite | invited | ein+laden | lädt | eingeladen | h | acc:human
    meet | met | treffen | trifft | getroffen | h | acc:human
    write | wrote | schreiben | schreibt | geschrieben | h | dat:human acc:letter
    thank | thanked | danken | dankt | gedankt | h | dat:human
    tidy | tidied | auf+räumen | räumt | aufgeräumt | h | acc:room
    """.strip().splitlines()
)
MOTIONS = tuple(
    _verb(row)
    for row in """
    go | went | gehen | geht | gegangen | s
    walk | walked | laufen | läuft | gelaufen | s
    """.strip().splitlines()
)
DRIVE = _verb("drive | drove | fahren | fährt | gefahren | s")
STAYS = tuple(
    _verb(row)
    for row in """
    work | worked | arbeiten | arbeitet | gearbeitet | h
    live | lived | wohnen | wohnt | gewohnt | h
    sleep | slept | schlafen | schläft | geschlafen | h
    stay | stayed | bleiben | bleibt | geblieben | s
    """.strip().splitlines()
)
ARRIVE, LEAVE, GET_UP, COME_BACK, BEGIN, OPEN, CLOSE = (
    _verb(row)
    for row in """
    arrive | arrived | an+kommen | kommt | angekommen | s
    leave | left | ab+fahren | fährt | abgefahren | s
    get up | got | auf+stehen | steht | aufgestanden | s
    come back | came | zurück+kommen | kommt | zurückgekommen | s
    begin | began | an+fangen | fängt | angefangen | h
    open | opened | auf+machen | macht | aufgemacht | h
    close | closed | zu+machen | macht | zugemacht | h
    """.strip().splitlines()
)
LAY, STAND_UP, LIE, STAND, BELONG, LIKE, COST, SAY, THINK, HOPE, ASK, RAIN, SNOW = (
    _verb(row)
    for row in """
    put | put | legen | legt | gelegt | h
    put | put | stellen | stellt | gestellt | h
    be | was | liegen | liegt | gelegen | h | | lag
    be | was | stehen | steht | gestanden | h | | stand
    belong | belonged | gehören | gehört | gehört | h | to>dat:human | gehörte
    like | liked | gefallen | gefällt | gefallen | h
    cost | cost | kosten | kostet | gekostet | h | | kostete
    say | said | sagen | sagt | gesagt | h
    think | thought | glauben | glaubt | geglaubt | h
    hope | hoped | hoffen | hofft | gehofft | h
    ask | asked | fragen | fragt | gefragt | h
    rain | rained | regnen | regnet | geregnet | h
    snow | snowed | schneien | schneit | geschneit | h
    """.strip().splitlines()
)
WORK = STAYS[0]

BE = Verb("be", "was", "", "", "sein", ("bin", "bist", "ist", "sind"), "gewesen", "sein", "war")
HAVE = Verb("have", "had", "", "", "haben", ("habe", "hast", "hat", "haben"), "gehabt", "haben", "hatte", "acc:owned")
BE_HAVING = Verb("be", "was", "", "", "haben", HAVE.present, "gehabt", "haben", "hatte")  # be hungry: Hunger haben
_PLACED = ("read", "see", "eat", "help", "wait", "look", "drink", "talk", "play", "meet", "write")
PLACED = tuple(v for v in ACTIONS if v.en in _PLACED)
BECOME = Verb("will", "", "", "", "werden", ("werde", "wirst", "wird", "werden"), "geworden", "sein")
KNOW_FACT = Verb("know", "knew", "", "", "wissen", ("weiß", "weißt", "weiß", "wissen"), "gewusst", "haben", "wusste")
KNOW = Verb(
    "know", "knew", "", "", "kennen", ("kenne", "kennst", "kennt", "kennen"), "gekannt", "haben", "kannte", "acc:known"
)


@dataclass(frozen=True)
class Modal:
    """An English modal (or 'want to', which takes do) and the German one; `de_negated`: must not is nicht dürfen."""

    en: str
    past: str
    present: tuple[str, str, str, str]
    preterite: str
    auxiliary: bool = True


MUST_NOT = Modal("must", "", ("darf", "darfst", "darf", "dürfen"), "durfte")
WANT = Modal("want to", "wanted to", ("will", "willst", "will", "wollen"), "wollte", auxiliary=False)
MODALS = (
    Modal("can", "could", ("kann", "kannst", "kann", "können"), "konnte"),
    WANT,
    Modal("must", "had to", ("muss", "musst", "muss", "müssen"), "musste"),
    Modal("should", "", ("sollte", "solltest", "sollte", "sollten"), ""),
)
