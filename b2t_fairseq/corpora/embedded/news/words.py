"""The words of the news: companies, which are all made up, countries, towns, and what can happen to them."""

STEMS = (
    *("Alder", "Norda", "Velta", "Kestrel", "Brenna", "Oriole", "Tamaro", "Selva", "Quinta", "Halden"),
    *("Mirano", "Juno", "Corvin", "Delphin", "Estra", "Falken", "Garda", "Ilmar", "Lumen", "Merida", "Ostra"),
    *("Pernod", "Rovina", "Solana", "Tirana", "Ulmo", "Vanda", "Westra", "Ymir", "Zephyr", "Basalt", "Cobra"),
    *("Dorado", "Ember", "Fjord", "Granit"),
)
#: what stands behind the stem, and the industry
TRADES = (
    ("Steel", "steel"),
    ("Motors", "car"),
    ("Airlines", "airline"),
    ("Foods", "food"),
    ("Energy", "energy"),
    ("Telecom", "telecoms"),
    ("Bank", "banking"),
    ("Chemicals", "chemicals"),
    ("Shipping", "shipping"),
    ("Media", "media"),
)
#: country, adjective
COUNTRIES = (
    *(("Norway", "Norwegian"), ("Chile", "Chilean"), ("Kenya", "Kenyan"), ("Poland", "Polish"), ("Peru", "Peruvian")),
    *(("Greece", "Greek"), ("Japan", "Japanese"), ("Turkey", "Turkish"), ("Egypt", "Egyptian"), ("Canada", "Canadian")),
    *(("Sweden", "Swedish"), ("Spain", "Spanish"), ("Brazil", "Brazilian"), ("Ghana", "Ghanaian"), ("India", "Indian")),
    *(("Finland", "Finnish"), ("Mexico", "Mexican"), ("Ireland", "Irish"), ("Portugal", "Portuguese")),
    *(("Hungary", "Hungarian"), ("Austria", "Austrian"), ("Denmark", "Danish"), ("Vietnam", "Vietnamese")),
    *(("Morocco", "Moroccan"), ("Iceland", "Icelandic"), ("Belgium", "Belgian"), ("Croatia", "Croatian")),
    *(("Nepal", "Nepalese"), ("Uruguay", "Uruguayan"), ("Latvia", "Latvian")),
)
TOWNS = (
    *("Bergen", "Lima", "Krakow", "Nairobi", "Osaka", "Izmir", "Luxor", "Toronto", "Malmo", "Seville"),
    *("Recife", "Accra", "Mumbai", "Turku", "Puebla", "Cork", "Porto", "Szeged", "Graz", "Aarhus", "Hanoi"),
    *("Fez", "Reykjavik", "Ghent", "Split", "Pokhara", "Riga", "Valparaiso", "Patras", "Ottawa"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "March", "April", "May", "June", "July", "September", "October", "November")
QUARTERS = ("first", "second", "third", "fourth")
DIRECTIONS = (
    ("northern", "the north of"),
    ("southern", "the south of"),
    ("eastern", "the east of"),
    ("western", "the west of"),
)
BUILDINGS = (
    *("factory", "bridge", "harbour", "power plant", "research centre", "railway line", "warehouse", "stadium"),
    *("hospital", "wind farm", "airport terminal", "school"),
)
PRODUCTS = ("car", "heater", "toy", "laptop", "bicycle", "kettle", "battery", "medicine", "child seat", "phone")
#: fault in a text, in a headline
FAULTS = (
    ("because the brakes may fail", "brake fault"),
    ("because they can catch fire", "fire risk"),
    ("after small parts were found to break off", "loose parts"),
    ("because of a fault in the software", "software fault"),
    ("after traces of lead were found in them", "lead traces"),
)
PORTFOLIOS = ("finance", "defence", "health", "transport", "education", "justice", "interior", "farm")
#: reason in a text, in a headline
REASONS = (
    ("after he was accused of taking bribes", "bribery claims"),
    ("after newspapers printed his private letters", "leaked letters"),
    ("because parliament had rejected his budget", "budget defeat"),
    ("after a row with the prime minister about taxes", "tax row"),
    ("following criticism of his trips abroad", "travel costs"),
    ("after admitting that he had copied his thesis", "copied thesis"),
)
#: crime in a text, in a headline
CRIMES = (
    ("taking bribes from builders", "bribery"),
    ("stealing money from pension funds", "theft"),
    ("selling secrets to a foreign power", "spying"),
    ("evading taxes for more than a decade", "tax evasion"),
    ("smuggling weapons across the border", "arms smuggling"),
    ("setting fire to an empty theatre", "arson"),
)
CONVICTS = ("mayor", "general", "banker", "judge", "governor")
#: incident in a text, in a headline
INCIDENTS = (
    ("a robbery at a jeweller's", "jewel robbery"),
    ("riots outside the town hall", "riots"),
    ("the kidnapping of a banker", "kidnapping"),
    ("a series of arson attacks", "arson attacks"),
    ("the theft of a painting from a museum", "art theft"),
)
TOPICS = ("trade", "fishing rights", "border security", "water", "gas prices", "visas", "climate")
DEMANDS = (
    ("higher pay", "pay"),
    ("shorter hours", "hours"),
    ("safer machines", "safety"),
    ("better pensions", "pensions"),
)
DISASTERS = (
    ("An earthquake", "quake"),
    ("A heavy storm", "storm"),
    ("Floods", "floods"),
    ("Landslides", "landslides"),
    ("A forest fire", "forest fire"),
)
SOURCES = ("officials", "state television", "local newspapers", "a government spokesman", "news agencies")
ANALYSTS = (
    "to the surprise of analysts",
    "as had been expected",
    "for the second time this year",
    "despite weak demand",
)
