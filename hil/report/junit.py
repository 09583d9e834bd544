"""A run as JUnit XML: an entry of the set is a test case, what failed a failure, what is invalid an error."""

import re
import xml.etree.ElementTree as ET
from typing import Any

from farfield.hil.result import FAILED, INVALID

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # but these characters (XML 1.0, 2.2)


def junit(found: dict[str, Any]) -> str:
    """The XML text. Characters that XML 1.0 cannot hold, as names may, are U+FFFD in it."""
    entries = found["entries"]
    verdicts = [entry["verdict"] for entry in entries]
    seconds = sum(entry["figures"]["seconds"] for entry in entries)
    counts = {"tests": len(entries), "failures": verdicts.count(FAILED), "errors": verdicts.count(INVALID)}
    attributes = {"name": f"{found['set']} on {found['rig']}"} | {name: str(count) for name, count in counts.items()}
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", attributes | {"time": f"{seconds:.3f}"})
    properties = ET.SubElement(suite, "properties")
    told = {"rig": found["rig"], "faults": _pairs(found["faults"]), "models": ", ".join(m["word"] for m in found["models"])}
    for name, value in told.items():
        ET.SubElement(properties, "property", {"name": name, "value": value})
    for entry in entries:
        name = entry["name"] + (f" #{entry['repeat'] + 1}" if entry["repeat"] else "")
        attributes = {"classname": f"farfield.hil.{found['set']}", "name": name, "time": f"{entry['figures']['seconds']:.3f}"}
        case = ET.SubElement(suite, "testcase", attributes)
        if entry["verdict"] in (FAILED, INVALID):
            kind = "failure" if entry["verdict"] == FAILED else "error"
            complaint = ET.SubElement(case, kind, {"message": entry["reasons"][0], "type": entry["verdict"]})
            complaint.text = "\n".join(entry["reasons"])
        ET.SubElement(case, "system-out").text = _pairs(entry["figures"])
    ET.indent(suites)
    text = _NO_XML.sub("\N{REPLACEMENT CHARACTER}", ET.tostring(suites, encoding="unicode"))
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items())
