"""What each format keeps of a report, read back by somebody else's parser, and that text stays text in it."""

import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import jsonschema
import junitparser
import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ebpfcheck.model.facts import Reason
from ebpfcheck.model.report import (
    Coverage,
    Finding,
    Override,
    Remediation,
    Report,
    ReportTarget,
    Severity,
    Status,
    Verdict,
)
from ebpfcheck.model.snapshot import Problem, Unseen
from ebpfcheck.model.text import TEXT_ESCAPES, visible, without_commands
from ebpfcheck.render import RENDERERS, RenderOptions, renderer
from ebpfcheck.render.markdown import shortened
from ebpfcheck.render.words import decides, is_open, override, status_word
from tests.reports import HOSTILE, finding, report

SARIF = jsonschema.Draft4Validator(json.loads((Path(__file__).parents[1] / "data/sarif-schema-2.1.0.json").read_text()))
JUNIT = xmlschema.XMLSchema(str(Path(__file__).parents[1] / "data/junit-10.xsd"))
STATUSES = (Status.PASS, Status.WARN, Status.FAIL, Status.UNKNOWN, Status.NOT_APPLICABLE)


def shown(name: str, of: Report) -> str:
    text = renderer(name)(of, RenderOptions(width=120, verbosity=1))
    # What is written is text that any file and pipe takes.
    text.encode()
    return text


class Read(NamedTuple):
    """What a reader finds: (word, check's id) of each finding, and all of the text that is shown."""

    findings: list[tuple[str, str]]
    text: str


def plain(text: str) -> str:
    """Return a text as it is shown, whatever blanks were made of its own."""
    return " ".join(visible(text).split())


def read_json(text: str) -> Read:
    findings = json.loads(text)["findings"]
    return Read([(_word(one), visible(one["id"])) for one in findings], visible(_strings(findings)))


def read_jsonl(text: str) -> Read:
    findings = [json.loads(line) for line in text.splitlines()]
    return Read([(_word(one), visible(one["id"])) for one in findings], visible(_strings(findings)))


def _word(one: dict[str, Any]) -> str:
    status = Status(one["status"])
    return status_word(finding(status, note=one["note"], waived_by=one["waived_by"], in_baseline=one["in_baseline"]))


def _strings(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(map(_strings, value.values()))
    return " ".join(map(_strings, value)) if isinstance(value, list) else str(value)


def read_junit(text: str) -> Read:
    JUNIT.validate(text)
    root = ElementTree.fromstring(text)
    cases = [case for case in root.iter("testcase") if case.get("classname") != "ebpfcheck"]
    found = []
    for case in cases:
        words = "".join(case.itertext()).strip()
        found.append((words.partition(":")[0], case.get("classname", "")))
    attributes = " ".join(value for element in root.iter() for value in element.attrib.values())
    return Read(found, " ".join(root.itertext()) + attributes)


def read_sarif(text: str) -> Read:
    SARIF.validate(json.loads(text))
    return read_sarif_unchecked(text)


def read_sarif_unchecked(text: str) -> Read:
    log = json.loads(text)
    found, texts = [], []
    for run in log["runs"]:
        for one in run["results"]:
            message = re.sub(r"\\([\\\[\]])", r"\1", one["message"]["text"]).replace("{{", "{").replace("}}", "}")
            found.append((message.partition(":")[0], one["ruleId"]))
            texts.append(message)
            texts += [place["name"] for place in one["locations"][0]["logicalLocations"]]
        for note in run["invocations"][0]["toolExecutionNotifications"]:
            words = re.sub(r"\\([\\\[\]])", r"\1", note["message"]["text"]).replace("{{", "{").replace("}}", "}")
            texts.append(words)
            if "associatedRule" in note:
                found.append((words.partition(":")[0], note["associatedRule"]["id"]))
    return Read(found, " ".join(texts))


MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def read_markdown(text: str) -> Read:
    tokens = MARKDOWN.parse(text)
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level == 4 and rows:
            rows[-1].append(_inline(token))
    assert all(len(row) == 4 for row in rows)
    quiet = [
        ("PASS" if " passed: " in _inline(token) else "N/A", child.content)
        for token in tokens
        if token.type == "inline" and re.match(r"\d+ (passed|not applicable): ", _inline(token))
        for child in token.children or ()
        if child.type == "code_inline"
    ]
    everything = " ".join(_inline(token) if token.type == "inline" else token.content for token in tokens)
    return Read([(row[0], row[1]) for row in rows[1:]] + quiet, everything)


def _inline(token: Token) -> str:
    return "".join(child.content if child.type != "softbreak" else "\n" for child in token.children or ())


class Command(NamedTuple):
    level: str
    title: str
    message: str


def commands(text: str) -> Iterator[Command]:
    """Read workflow commands as a runner does: each line is one, and none hides in another."""
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        match = re.fullmatch(r"::(error|warning|notice) title=([^:,\r]*)::([^\r]*)", line)
        assert match, line[:200]
        level, title, message = match.groups()
        assert not re.search("%(?!25|0A)", message)
        assert not re.search("%(?!25|3A|2C)", title)
        title = title.replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
        yield Command(level, title, message.replace("%0A", "\n").replace("%25", "%"))


def read_github(text: str) -> Read:
    found = list(commands(text))
    findings = [tuple(one.title.split(" ", 1)) for one in found if one.title.partition(" ")[0] in WORDS]
    return Read([(word, name) for word, name in findings], "\n".join(one.message for one in found))


WORDS = ("FAIL", "WARN", "UNKNOWN", "WAIVED", "KNOWN", "NOTE")


TAGS = """html head meta title style body h1 h2 p strong ul li table thead tbody tr th td section span dl dt dd a pre
details summary footer"""


class Page(HTMLParser):
    """A page's text, tags and links, with a line for each row of its table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.links += [value or "" for name, value in attributes if name == "href"]
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.rows[-1][-1] += data
        if "style" not in self.open:
            self.text += data


def read_html(text: str) -> Read:
    page = Page(text)
    assert page.tags <= {*TAGS.split()}
    assert page.attributes <= {"lang", "charset", "name", "content", "http-equiv", "class", "href", "rel"}
    return Read([(row[0], row[1]) for row in page.rows if row], page.text)


READERS: dict[str, Callable[[str], Read]] = {
    "json": read_json,
    "jsonl": read_jsonl,
    "junit": read_junit,
    "sarif": read_sarif,
    "markdown": read_markdown,
    "github": read_github,
    "html": read_html,
}
# What these do not list one by one: they count it, or have it elsewhere.
UNLISTED = {"github": ("PASS", "N/A"), "sarif": ("PASS",)}


def test_each_format_is_read_here() -> None:
    assert set(READERS) | {"table"} == set(RENDERERS)


TEXT = st.one_of(
    st.sampled_from([text for text in HOSTILE if len(text) < 200]),
    st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Z", "C")), max_size=30),
)
NAME = TEXT.map(lambda text: f"n{text}")


OVERRIDES = st.builds(
    Override, status=st.sampled_from([Status.WARN, Status.FAIL]), severity=st.sampled_from(list(Severity)), by=NAME
)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    status = draw(st.sampled_from(STATUSES))
    is_wrong = status in (Status.WARN, Status.FAIL, Status.UNKNOWN)
    waived_by = draw(st.none() | NAME) if is_wrong else None
    scope = draw(st.sampled_from(["node", "cluster"]))
    names = draw(st.lists(NAME, min_size=1, max_size=5, unique_by=visible))
    return finding(
        status,
        id=draw(st.sampled_from(["node.a", "node.b", "x.third-party"])),
        title=draw(TEXT),
        category=draw(TEXT),
        scope=scope,
        severity=draw(st.sampled_from(list(Severity))),
        subjects=tuple(names) if scope == "node" else ("cluster",),
        inferred_from=tuple(draw(st.lists(NAME, max_size=2))),
        message=draw(NAME),
        observed=draw(TEXT),
        required=draw(TEXT),
        reason=draw(st.sampled_from(list(Reason))) if status is Status.UNKNOWN else None,
        needs_survey=status is Status.UNKNOWN and draw(st.booleans()),
        note=status is Status.PASS and draw(st.booleans()),
        remediation=draw(
            st.none()
            | st.builds(
                Remediation, text=NAME, commands=st.lists(NAME, max_size=2).map(tuple), disruptive=st.booleans()
            )
        ),
        docs_url=draw(st.sampled_from(["", "https://example.com/x.md", "https://x/|>\n\"' ", "javascript:alert(1)"])),
        fingerprint=draw(st.sampled_from(["a" * 64, "b" * 64])),
        waived_by=waived_by,
        overridden=draw(st.none() | OVERRIDES) if is_wrong else None,
        in_baseline=is_wrong and waived_by is None and draw(st.booleans()),
        waiver_expired=draw(st.none() | NAME) if is_wrong and waived_by is None else None,
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(findings(), min_size=1, max_size=6), TEXT, TEXT)
def test_no_format_loses_a_finding_or_a_subject(found: list[Finding], name: str, problem: str) -> None:
    of = report(
        *found,
        target=ReportTarget(kind="cluster", name=f"cluster {name}", context=name or None),
        problems=(Problem(source="api", reason=Reason.TIMEOUT, detail=problem),),
    )
    for form, read in READERS.items():
        findings, text = read(shown(form, of))
        expected = [(status_word(one), one.id) for one in found if status_word(one) not in UNLISTED.get(form, ())]
        if form == "markdown":
            # What just holds is listed by check.
            quiet = {pair for pair in expected if pair[0] in ("PASS", "N/A")}
            expected = [pair for pair in expected if pair not in quiet] + list(quiet)
        assert sorted(findings) == sorted(expected), form
        text = " ".join(text.split())
        for one in found:
            if is_open(one):
                names = one.subjects if one.scope == "node" else ()
                by = one.overridden.by if one.overridden is not None and override(one) else ""
                accepted = (one.waived_by or "", one.waiver_expired or "", by)
                for words in (one.message, *accepted, *names):
                    assert plain(words) in text, (form, words)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("format", READERS)
def test_hostile_text_stays_text(format: str, text: str) -> None:
    one = finding(
        Status.FAIL,
        id=f"third.{text[:40]}",
        title=text,
        category=text,
        subjects=(f"node {text}",),
        message=f"It says {text}",
        observed=text,
        required=text,
        remediation=Remediation(text=text, commands=(f"echo {text}",)),
        docs_url=f"https://example.com/{text[:40]}",
    )
    lost = Unseen(name=f"lost {text}", reason=Reason.TIMEOUT, detail=text)
    of = report(
        one,
        target=ReportTarget(kind="cluster", name=f"cluster {text}", context=text),
        coverage=Coverage(nodes_total=2, nodes_surveyed=1, unseen=(lost,)),
    )
    findings, seen = READERS[format](shown(format, of))
    assert [(word, plain(name)) for word, name in findings] == [("FAIL", plain(one.id))]
    seen = " ".join(seen.split())
    assert plain(one.message) in seen
    assert plain(one.subjects[0]) in seen
    command = plain(f"echo {text}")
    if format == "markdown":
        # Within code nothing stands for another character: it is what a shell takes for it.
        command = command.replace("##[", "#\\#[")
    assert len(text) > 1000 or command in seen or format == "github"


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_markdown_has_no_markup_of_others(text: str) -> None:
    tokens = MARKDOWN.parse(shown("markdown", report(finding(title=text, message=text, subjects=(text or "n",)))))
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h2", "h3"]
    kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    assert not kinds & {
        "html_block",
        "html_inline",
        "image",
        "em_open",
        "s_open",
        "blockquote_open",
        "hr",
        "code_block",
    }
    assert not kinds & {"ordered_list_open", "fence"}
    links = [child.attrs["href"] for token in tokens for child in token.children or () if child.type == "link_open"]
    assert set(links) == {"https://example.com/node.test.md"}


RUNNER_COMMANDS = {
    *("add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group", "notice", "remove-matcher"),
    *("save-state", "set-env", "set-output", "stop-commands", "warning"),
}


def obeyed(text: str) -> Iterator[str]:
    """Find what a runner acts on, as it looks for it: in each line, by the names of its commands in any case."""
    for line in map(str.lstrip, re.split("[\r\n]", text)):
        spans = [line[2:].partition("::")[:2]] if line.startswith("::") else []
        spans += [found.partition("]")[:2] for found in line.split("##[")[1:]]
        yield from (line for words, end in spans if end and words.split(" ")[0].lower() in RUNNER_COMMANDS)


COMMANDS = (*HOSTILE, "\u00a0::Warning file=a,line=1::x", "a\n ::GROUP::x\r::endgroup::", "###[group]x ##[add-mask]y")


@pytest.mark.parametrize("text", COMMANDS, ids=range(len(COMMANDS)))
@pytest.mark.parametrize("format", [name for name in RENDERERS if name != "github"])
def test_no_text_is_a_command_to_a_runner(format: str, text: str) -> None:
    lost = Unseen(name=text, reason=Reason.TIMEOUT, detail=text)
    fix = Remediation(text=text, commands=(text, f"echo {text}"))
    one = finding(title=text, message=text, subjects=(text,), observed=text, remediation=fix)
    of = report(
        one,
        finding(Status.UNKNOWN, id=f"a.{text}", message=text, needs_survey=True),
        finding(Status.WARN, message=text, waived_by=text),
        target=ReportTarget(kind="cluster", name=text, context=text),
        problems=(Problem(source=text, reason=Reason.TIMEOUT, detail=text),),
        coverage=Coverage(nodes_total=2, nodes_surveyed=1, unseen=(lost,)),
    )
    for verbosity, width in itertools.product((-1, 0, 1), (40, 47, 120)):
        shown = renderer(format)(of, RenderOptions(width=width, verbosity=verbosity))
        assert not list(obeyed(shown))


def test_a_runner_finds_commands_where_nothing_keeps_it_from_them() -> None:
    assert all(list(obeyed(text)) for text in COMMANDS if "::error " in text or "##[" in text or "::GROUP" in text)


@pytest.mark.parametrize("text", ["::1", "::ffff:192.0.2.1 is it", "::abc is it", "# ## [x]", "a ::error::b"])
def test_what_is_no_command_stays_as_it_is(text: str) -> None:
    assert without_commands(f"  {text}\n", TEXT_ESCAPES) == f"  {text}\n"


def test_a_shell_takes_what_was_a_command_for_the_same_words() -> None:
    words = "::error::x ##[error]y"
    shown = without_commands(words, TEXT_ESCAPES)
    assert shown != words
    assert shlex.split(shown) == words.split()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_is_a_command_to_a_runner_of_an_older_kind(text: str) -> None:
    # That looks for ##[ anywhere, but not in a line that is a command of the newer kind.
    out = shown("github", report(finding(title=text, message=text, subjects=(text or "n",))))
    assert all(line.startswith("::") for line in out.splitlines())


def case_of(of: Report, name: str = "node.test") -> ElementTree.Element:
    root = ElementTree.fromstring(shown("junit", of))
    return next(case for case in root.iter("testcase") if case.get("classname") == name)


def kind_of(case: ElementTree.Element) -> str:
    return next((child.tag for child in case if child.tag != "system-out"), "passed")


NOTHING_UNSEEN = Coverage(nodes_total=2, nodes_surveyed=2)


@pytest.mark.parametrize(
    ("of", "kind"),
    [
        (report(finding(Status.PASS)), "passed"),
        (report(finding(Status.NOT_APPLICABLE)), "skipped"),
        (report(finding(Status.WARN)), "passed"),
        (report(finding(Status.WARN), fail_on="warn"), "failure"),
        (report(finding(Status.FAIL)), "failure"),
        (report(finding(Status.FAIL, waived_by="known, until 2027")), "skipped"),
        (report(finding(Status.FAIL, in_baseline=True)), "skipped"),
        (report(finding(Status.WARN, in_baseline=True), fail_on="warn"), "skipped"),
        (report(finding(Status.FAIL), finding(Status.FAIL, id="node.known", in_baseline=True)), "failure"),
        (report(finding(Status.UNKNOWN, in_baseline=True)), "skipped"),
        (report(finding(Status.UNKNOWN), finding(Status.FAIL, id="node.known", in_baseline=True)), "error"),
        (report(finding(Status.UNKNOWN)), "error"),
        (report(finding(Status.UNKNOWN, severity=Severity.DEGRADE)), "skipped"),
        (report(finding(Status.UNKNOWN, waived_by="known")), "skipped"),
        (report(finding(Status.UNKNOWN, needs_survey=True), scope="api"), "skipped"),
        (report(finding(Status.UNKNOWN, needs_survey=True)), "error"),
        # Another decides.
        (report(finding(Status.UNKNOWN), finding(Status.FAIL, id="node.other")), "skipped"),
    ],
)
def test_a_test_case_fails_where_its_finding_decides(of: Report, kind: str) -> None:
    assert kind_of(case_of(of)) == kind
    suites = junitparser.JUnitXml.fromstring(shown("junit", of))
    assert suites.tests == len(of.findings)
    # A suite is green if and only if the exit code is 0.
    assert bool(suites.failures or suites.errors) == bool(of.exit_code)
    message = next((child.get("message") for child in case_of(of) if child.tag == kind), "It is so.")
    assert "It is so." in str(message)


def test_unseen_nodes_make_a_test_case_of_their_own() -> None:
    lost = Unseen(name="node-9", reason=Reason.UNREACHABLE, detail="no route")
    of = report(finding(Status.PASS), coverage=Coverage(nodes_total=2, nodes_surveyed=1, unseen=(lost,)))
    assert of.exit_code == 3
    case = case_of(of, "ebpfcheck")
    assert kind_of(case) == "error"
    assert "Not seen: node-9: no route (unreachable)" in "".join(case.itertext())
    known = report(finding(Status.FAIL, in_baseline=True), coverage=of.coverage)
    assert (known.verdict, known.exit_code) == (Verdict.NOT_READY, 3)
    assert "INCONCLUSIVE" in str(case_of(known, "ebpfcheck")[0].get("message"))


def test_test_cases_are_told_apart_and_keep_their_names() -> None:
    outcomes = (
        finding(Status.FAIL, subjects=("a",)),
        finding(Status.FAIL, subjects=("b",), inferred_from=("a",)),
        finding(Status.FAIL, subjects=("c",), waived_by="x"),
        finding(Status.PASS, subjects=("d",), fingerprint="0" * 64),
    )
    root = ElementTree.fromstring(shown("junit", report(*outcomes)))
    names = [case.get("name") for case in root.iter("testcase")]
    assert names == [
        "A check (fail, ffffffff)",
        "A check (fail, ffffffff, inferred)",
        "A check (waived, ffffffff)",
        "A check (pass, 00000000)",
    ]
    assert len({*names}) == 4
    alone = ElementTree.fromstring(shown("junit", report(outcomes[0])))
    assert [case.get("name") for case in alone.iter("testcase")] == ["A check"]


def results(of: Report) -> list[dict[str, Any]]:
    log = json.loads(shown("sarif", of))
    return [result for run in log["runs"] for result in run["results"]]


@pytest.mark.parametrize(
    ("one", "kind", "level", "default"),
    [
        (finding(Status.FAIL), None, "error", "warning"),
        (finding(Status.WARN), None, "warning", "warning"),
        # A level would contradict the kind, by the standard; GitHub takes the rule's then.
        (finding(Status.UNKNOWN), "open", None, "warning"),
        (finding(Status.UNKNOWN, severity=Severity.NOTE), "open", None, "note"),
        (finding(Status.PASS, note=True, severity=Severity.NOTE), "informational", None, "note"),
        (finding(Status.FAIL, waived_by="accepted"), None, "note", "warning"),
    ],
)
def test_levels_and_kinds_of_results(one: Finding, kind: str | None, level: str | None, default: str) -> None:
    log = json.loads(shown("sarif", report(one)))
    run = log["runs"][0]
    (result,) = run["results"]
    assert (result.get("kind"), result.get("level")) == (kind, level)
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert rule["id"] == result["ruleId"] == "node.test"
    assert rule["defaultConfiguration"]["level"] == default
    assert rule["helpUri"] == "https://example.com/node.test.md"
    assert [waiver["justification"] for waiver in result.get("suppressions", ())] == (
        ["accepted"] if one.waived_by else []
    )


def test_results_say_what_is_new_where_there_is_a_baseline() -> None:
    fresh, known = finding(Status.FAIL), finding(Status.FAIL, id="node.known", in_baseline=True)
    found = {one["ruleId"]: one for one in results(report(fresh, known))}
    assert found["node.test"]["baselineState"] == "new"
    assert found["node.known"]["baselineState"] == "unchanged"
    assert found["node.known"]["level"] == "note"
    assert "baselineState" not in results(report(fresh))[0]


def test_fingerprints_stay_whatever_the_nodes_are_called_and_tell_results_apart() -> None:
    first = results(report(finding(subjects=("a", "b")), finding(subjects=("c",), inferred_from=("a",))))
    later = results(report(finding(subjects=("d",)), finding(subjects=("e", "f"), inferred_from=("d",))))
    marks = [[one["partialFingerprints"]["primaryLocationLineHash"] for one in found] for found in (first, later)]
    assert marks[0] == marks[1]
    assert len({*marks[0]}) == 2


def test_locations_are_what_code_scanning_takes() -> None:
    for context, path in (("prod", "cluster/prod"), ("a/../b c", "cluster/a%2F..%2Fb%20c"), ("..", "cluster/%2E%2E")):
        target = ReportTarget(kind="cluster", name=f"cluster {context}", context=context)
        (result,) = results(report(finding(subjects=("n1", "n2")), target=target))
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == path
        assert place["physicalLocation"]["region"] == {"startLine": 1}
        names = [logical["fullyQualifiedName"] for logical in place["logicalLocations"]]
        assert names == ["node/n1", "node/n2"]


def test_more_results_than_a_run_may_hold_go_on_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebpfcheck.render.sarif._RESULTS", 10)
    many = tuple(finding(Status.WARN, id=f"node.{number}", docs_url="") for number in range(25))
    text = shown("sarif", report(*many, finding(Status.NOT_APPLICABLE, id="node.na")))
    log = json.loads(text)
    assert [len(run["results"]) for run in log["runs"]] == [10, 10, 5]
    assert len({run["automationDetails"]["id"] for run in log["runs"]}) == 3
    assert len(read_sarif(text).findings) == 26


@pytest.mark.parametrize("subjects", [5_000, 100_000])
def test_many_subjects_are_bounded_and_counted(subjects: int) -> None:
    names = tuple(f"node-{number:06}" for number in range(subjects))
    of = report(*(finding(Status.FAIL, id=f"node.{number}", subjects=names) for number in range(3)))
    readers = {**READERS, "sarif": read_sarif_unchecked}
    for form, most in {"junit": 1000, "html": 1000, "markdown": 50, "github": 20, "sarif": 20}.items():
        text = shown(form, of)
        findings, seen = readers[form](text)
        assert len(findings) == 3, form
        assert f"{subjects:,} of {subjects:,} nodes: node-000000," in seen, form
        assert f"and {subjects - most:,} more" in seen, form
        assert len(text) < 600_000, form
    for result in results(of):
        assert len(result["locations"][0]["logicalLocations"]) == 1000
        assert result["properties"]["subjectsLeftOut"] == subjects - 1000
    for text in (shown("json", of), shown("jsonl", of)):
        assert text.count('"node-') == 3 * subjects


def test_a_summary_fits_whatever_there_is_to_say_and_names_each_check() -> None:
    limit = 1 << 16
    few = report(finding(Status.FAIL), finding(Status.UNKNOWN, id="node.b"))
    assert shortened(few, limit) == shown("markdown", few)
    steps = []
    for findings in (60, 200, 2_000):
        many = report(
            *(
                finding(Status.FAIL, id=f"node.{number % 50}", message=f"{number} " + "y" * 50, observed="z" * 1_000)
                for number in range(findings)
            )
        )
        text = shortened(many, limit)
        assert len(text.encode()) <= limit
        steps.append(("Details are left out" in text, "Single findings are left out" in text))
        read_markdown(text)
        for number in range(50):
            assert f"[node.{number}](" in text
    assert steps == [(True, False), (True, False), (False, True)]
    assert shortened(few, 100) == "## ebpfcheck: NOT READY\n\nThe report is left out, as it does not fit here.\n"
    assert shortened(few, 10) == shortened(few, -10) == ""


@pytest.mark.parametrize(
    ("of", "levels"),
    [
        (report(finding(Status.PASS)), ["notice"]),
        (report(finding(Status.FAIL)), ["error", "error"]),
        (report(finding(Status.WARN)), ["notice", "warning"]),
        (report(finding(Status.WARN), fail_on="warn"), ["error", "error"]),
        (report(finding(Status.UNKNOWN)), ["error", "error"]),
        (report(finding(Status.UNKNOWN, severity=Severity.DEGRADE)), ["notice", "warning"]),
        (report(finding(Status.UNKNOWN, severity=Severity.NOTE)), ["notice", "notice"]),
        (report(finding(Status.UNKNOWN, needs_survey=True), scope="api"), ["notice", "notice"]),
        (report(finding(Status.UNKNOWN, needs_survey=True)), ["error", "error"]),
        (report(finding(Status.FAIL, waived_by="x")), ["notice", "notice"]),
        (report(finding(Status.FAIL, in_baseline=True)), ["notice", "notice"]),
        (report(finding(Status.UNKNOWN), finding(Status.FAIL, in_baseline=True)), ["error", "error", "notice"]),
    ],
)
def test_annotations_are_as_grave_as_what_they_tell(of: Report, levels: list[str]) -> None:
    assert [command.level for command in commands(shown("github", of))] == levels


def test_only_what_is_not_accepted_decides() -> None:
    for one in (finding(status, **kind) for status in STATUSES for kind in ({"waived_by": "x"}, {"in_baseline": True})):
        assert not decides(report(one, fail_on="warn"), one)


@pytest.mark.parametrize("format", ["markdown", "html", "github", "junit", "sarif"])
def test_what_the_api_alone_tells_is_no_more_than_that(format: str) -> None:
    of = report(finding(Status.UNKNOWN, needs_survey=True), scope="api")
    assert of.exit_code == 0
    text = shown(format, of)
    assert text.index("As far as the API can tell: READY") == text.index("READY") - len("As far as the API can tell: ")


def test_a_page_asks_for_nothing_from_elsewhere() -> None:
    text = shown("html", report(finding(Status.FAIL), finding(Status.PASS)))
    page = Page(text)
    assert "script" not in page.tags
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert {*page.links} == {"https://example.com/node.test.md"}
    assert "@media print" in text
