"""People who never were, for a CRM that never was."""

import random
from datetime import date, timedelta
from typing import Final

from ingestion.crm.changes import CustomerRow

GIVEN_NAMES: Final = ("Amaru", "Brisa", "Calder", "Dorota", "Eskil", "Fenna", "Goran", "Hedda")
FAMILY_NAMES: Final = ("Ashgrove", "Birkemo", "Corvale", "Drummore", "Elsholt", "Farrowby")
STREETS: Final = ("Quarry Lane", "Mill Steps", "Heron Walk", "Old Ropery", "Saltmarsh Road")
CITIES: Final = ("Norhaven", "Ostermouth", "Pelling", "Quillbury", "Rookford")
COUNTRIES: Final = ("DE", "FR", "GB", "JP", "SG", "US")
SEGMENTS: Final = ("RETAIL", "PROFESSIONAL", "INSTITUTIONAL")
STATUSES: Final = ("PROSPECT", "ACTIVE", "SUSPENDED", "CLOSED")
RISK_CLASSES: Final = ("LOW", "MEDIUM", "HIGH")

_OLDEST: Final = date(1940, 1, 1)
_BIRTH_DAYS: Final = 60 * 365
# One customer in so many left no telephone number.
_WITHOUT_PHONE: Final = 10


def new_customer(random_: random.Random, number: int) -> CustomerRow:
    """Return a customer; the number makes id and address of mail its own."""
    given, family = random_.choice(GIVEN_NAMES), random_.choice(FAMILY_NAMES)
    born = _OLDEST + timedelta(days=random_.randrange(_BIRTH_DAYS))
    return {
        "customer_id": f"C-{number:05d}",
        "name": f"{given} {family}",
        "email": f"{given}.{family}.{number}@example.com".lower(),
        "phone": _phone(random_) if random_.randrange(_WITHOUT_PHONE) else None,
        "birth_date": born.isoformat(),
        "address": _address(random_),
        "segment": random_.choices(SEGMENTS, weights=(80, 15, 5))[0],
        "country": random_.choice(COUNTRIES),
        "status": "PROSPECT",
        "risk_class": random_.choice(RISK_CLASSES),
    }


def changed(random_: random.Random, row: CustomerRow) -> CustomerRow:
    """Return a customer after a change of one thing; sometimes of nothing that is kept here."""
    now = row.copy()
    match random_.randrange(7):
        case 0:
            now["address"], now["country"] = _address(random_), random_.choice(COUNTRIES)
        case 1:
            now["phone"] = _phone(random_)
        case 2:
            now["name"] = f"{(row['name'] or '').split()[0]} {random_.choice(FAMILY_NAMES)}"
        case 3:
            now["segment"] = random_.choice(SEGMENTS)
        case 4:
            now["status"] = random_.choice(STATUSES)
        case 5:
            now["risk_class"] = random_.choice(RISK_CLASSES)
    return now


def _phone(random_: random.Random) -> str:
    return f"+999 {random_.randrange(10**9):09d}"


def _address(random_: random.Random) -> str:
    house, street, city = random_.randint(1, 199), random_.choice(STREETS), random_.choice(CITIES)
    return f"{house} {street}, {random_.randrange(10**5):05d} {city}"
