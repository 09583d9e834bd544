"""What a store holds, to see whether anything was added to it."""

from farfield.store import Store
from reference.keeping import files

TABLES = ("utterances", "wraps", "derived", "consents", "settings", "draws", "log", "head")


def state(folder):
    """Every file's bytes but the database's, and of that every record, but not how old the store says that it is."""
    with Store(folder).look() as database:
        records = {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    return records, {path: path.read_bytes() for path in files(folder) if path.name != "records.db"}
