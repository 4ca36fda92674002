"""The report: up to date, the same every time, and no figure, no sentence that the results do not bear out."""

import datetime
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import build
import pypdf
import pytest
from helpers import ROOT, fails

from Model import FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from networks.encoders import ENCODERS
from process.errors import UserError
from report.measures import cases, measured_networks
from util import AudioConfig, save_checkpoint


@pytest.fixture
def copy(tmp_path):
    """Everything the report is made from, the report and its digests, to be changed."""
    for name in [*build.sources(ROOT), build.PDF, build.DIGESTS]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def pages(pdf: bytes) -> list[str]:
    """The text of every page, in one line each."""
    return [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]


def change_json(path: Path, *keys: str, value=None) -> None:
    """Set an item of a JSON file, or remove it if there is no value."""
    found = json.loads(path.read_text())
    place = found
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    path.write_text(json.dumps(found))


def test_the_committed_report_is_up_to_date():
    assert build.changes(ROOT) == [], "run python report/build.py"


def test_it_is_about_the_pretrained_networks():
    for folder in ("held_out_singers", "songs"):
        networks = json.loads((ROOT / "results" / "discussion" / folder / "measures.json").read_text())["networks"]
        for name, facts in networks.items():
            path = ROOT / "pretrained" / f"savedModel_{name}_best.pt"
            again = "run report/measures/discussion.py and report/measures/cases.py"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"], again


def test_changes_are_told(copy, monkeypatch, capsys):
    monkeypatch.setattr(build, "ROOT", copy)
    assert build.changes(copy) == [] and build.main(["--check"]) == 0
    (copy / "report" / "text" / "1_system.typ").write_text("= Nothing")
    (copy / "results" / "songs" / "evaluation.csv").unlink()
    (copy / "results" / "other").mkdir()
    (copy / "results" / "other" / "evaluation.json").write_text("{}")
    (copy / build.PDF).write_bytes(b"%PDF older")
    assert build.changes(copy) == [
        "report/report.pdf: changed",
        "report/text/1_system.typ: changed",
        "results/other/evaluation.json: new",
        "results/songs/evaluation.csv: gone",
    ]
    line = fails(capsys, build.main, "--check")
    found = "report/report.pdf: changed, report/text/1_system"
    assert line.startswith(f"error: report: expected an up-to-date report, found {found}")
    (copy / build.PDF).unlink()
    assert "report/report.pdf: gone" in build.changes(copy)
    (copy / build.DIGESTS).unlink()
    assert build.changes(copy) == ["report/sources.sha256: missing"]


def test_same_sources_same_bytes_and_six_to_ten_pages(copy):
    pdf = build.build(copy)
    assert pdf == build.build(ROOT)
    assert b"CreationDate" not in pdf and b"CreateDate" not in pdf  # tomorrow's would be another
    assert 6 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 10


def test_building_makes_it_up_to_date(copy, monkeypatch):
    change_json(
        copy / "results" / "songs" / "evaluation.json", "scores", "vocals", "RNN", "SDR v3 sources", "mean", value=5.99
    )
    assert build.changes(copy) == ["results/songs/evaluation.json: changed"]
    before = (copy / build.PDF).read_bytes()
    monkeypatch.setattr(build, "ROOT", copy)
    assert build.main([]) == 0
    assert build.changes(copy) == [] and (copy / build.PDF).read_bytes() != before


def test_title(copy):
    dates = json.loads((copy / build.DATES).read_text())
    first = pages(build.build(copy, author="Ada Lovelace"))[0]
    for shown in ("Separating the singing voice", "Ada Lovelace", "ECE 277/477 Computer Audition, HW5"):
        assert shown in first
    newest = datetime.date.fromisoformat(max(dates.values()))
    assert f"results of {newest.day} {newest:%B %Y}" in first
    change_json(copy / build.DATES, min(dates), value="2031-02-03")
    assert "results of 3 February 2031" in pages(build.build(copy))[0]
    change_json(copy / "results" / "songs" / "evaluation.json", "commit", value="000000000000")
    with pytest.raises(UserError, match=r"dates\.json: expected the date of commit 000000000000, which git does not"):
        build.build(copy)


def test_page_1_has_the_mean_sdr_of_every_network():
    first = pages(build.build(ROOT))[0]
    judged = {"mir1k": 2, "held_out_singers": 5, "musdb": 5, "songs": 5}
    judged |= {f"{data}_{training}": 2 for data in ("mir1k", "musdb", "songs") for training in ("plain", "dense")}
    for folder, count in judged.items():
        scores = json.loads((ROOT / "results" / folder / "evaluation.json").read_text())["scores"]["vocals"]
        ours = "feedforward|RNN( bidirectional( 3 keys)?)?"
        networks = [name for name in scores if re.fullmatch(f"{ours}|spleeter", name)]
        assert len(networks) == count
        for name in networks:
            assert f" {scores[name]['SDR v3 sources']['mean']:.2f} " in first


def test_the_courses_own_networks_come_first():
    found = pages(build.build(ROOT))
    assert len(found) <= 10
    assert re.search(r"mixture [^a-z]+course.s own, plain: single frame 5\.19.*plain: recurrent 5\.38", found[0])
    for training in ("plain", "varied"):  # page 1, MIR-1K's table, real songs'
        assert sum(page.count(f"own, {training}: recurrent") for page in found) == 3


def test_what_each_kind_of_data_brought_is_shown_with_intervals():
    found = " ".join(pages(build.build(ROOT)))
    columns = {"data_musdb": "mean", "data_songs": "mean", "data_singers": "GNSDR v2.1"}
    for folder, column in columns.items():
        report = json.loads((ROOT / "results" / folder / "evaluation.json").read_text())
        for name in ("karaoke", "songs", "voices", "teacher"):
            own = report["MIR-1K"][name] if "GNSDR" in column else report["scores"]["vocals"][name]["SDR v3 sources"]
            low, high = own[f"interval of {column}" if "GNSDR" in column else "interval of the mean"]
            assert re.search(f"{own[column]:.2f} {low:.2f} ?… ?{high:.2f}".replace("-", "\N{MINUS SIGN}"), found)


def test_the_smoothed_loss_over_batches_is_drawn_where_a_run_kept_it(copy):
    for path in copy.glob("results/*/training_*_batches.csv"):
        path.unlink()
    assert "the mean over each epoch. Thick" in " ".join(pages(build.build(copy)))
    drawn = []
    for start in (0.1, 0.11):
        for network in ("feedforward", "RNN"):
            rows = [f"{batch},{batch / 100:.6g},{start + 1 / batch:.6g}" for batch in range(4, 3600, 4)]
            table = "\n".join(["batch,epochs,smoothed_loss", *rows]) + "\n"
            (copy / "results" / "musdb" / f"training_{network}_batches.csv").write_text(table)
        drawn.append(build.build(copy))
    told = "smoothed over batches (Equation 4), from where it enters the axes, or, of runs that kept none, the mean"
    assert told in " ".join(pages(drawn[0]))
    assert drawn[0] != drawn[1]  # by another curve alone


def test_spectrograms_are_cut_where_their_pictures_have_gaps():
    plots = (ROOT / "report" / "plots.typ").read_text()
    assert int(re.search(r"#let GAP = (\d+)", plots)[1]) == cases.GAP
    assert int(re.search(r"#let shades-of-gray\(floor: (\d+)\)", plots)[1]) == -cases.FLOOR


@pytest.mark.parametrize(
    ("file", "keys", "message"),
    [
        ("songs/evaluation.json", ("scores", "vocals", "RNN"), r'\.typ:\d+: dictionary does not contain key "RNN"'),
        ("discussion/songs/measures.json", ("phase", "RNN", "true phase"), 'does not contain key "true phase"'),
        ("discussion/held_out_singers/cases.json", ("cases", "two"), 'does not contain key "two"'),
        ("bss_eval_speed.json", ("times bss_eval_sources", "mir_eval sources"), "does not contain key"),
    ],
)
def test_a_missing_figure_stops_the_build(copy, file, keys, message):
    change_json(copy / "results" / file, *keys)
    with pytest.raises(UserError, match=message):
        build.build(copy)


@pytest.mark.parametrize(
    "file",
    ["separation_speed.json", "mir1k/evaluation.csv", "discussion/songs/case_loud.png", "songs/evaluation.json"],
)
def test_a_missing_file_stops_the_build(copy, file, capsys, monkeypatch):
    (copy / "results" / file).unlink()
    monkeypatch.setattr(build, "ROOT", copy)
    before = (copy / build.PDF).read_bytes()
    assert fails(capsys, build.main).startswith("error: report/")
    assert (copy / build.PDF).read_bytes() == before


def test_a_sentence_that_is_no_longer_true_stops_the_build(copy):
    change_json(copy / "results" / "discussion" / "songs" / "cases.json", "cases", "loud", "mixture", value=3.0)
    with pytest.raises(UserError, match="no longer support this sentence: the voice is far below the music"):
        build.build(copy)


@pytest.mark.parametrize(
    ("right", "wrong", "shown"),
    [
        ("every #course.audio.hop samples", "every `#course.audio.hop` samples", "#course.audio.hop"),
        ("every #course.audio.hop samples", "every `# samples`", "#"),
        ("The loss\n", "The loss, as in `docs/results.md`\n", "docs/results.md"),
        ("The loss\n", "The loss, as in `results/` and elsewhere\n", "results/"),
        ("back into sound @griffin1984", "back into sound `@griffin1984`", "@griffin1984"),
        ("is added to all bands", "is added to `all~bands`", "all~bands"),
    ],
)
def test_markup_that_shows_stops_the_build(copy, right, wrong, shown):
    path = copy / "report" / "text" / "1_system.typ"
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    with pytest.raises(UserError, match=rf"report\.pdf, page [12]: expected text, found markup of its source: {shown}"):
        build.build(copy)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_networks_are_drawn_whatever_their_encoder(copy, tmp_path, encoder):
    path = copy / "results" / "discussion" / "songs" / "measures.json"
    audio, paths = AudioConfig(16000, 2048, 512), {}
    for kind in (FeedforwardNetwork, RecurrentNetwork):
        paths[kind.name] = tmp_path / f"{kind.name}.pt"
        save_checkpoint(paths[kind.name], kind(kind.Config(bins=audio.bins, encoder=encoder)), audio)
    facts = measured_networks.load_networks(paths)[2]
    change_json(path, "networks", value=facts)
    drawn = build.build(copy)
    assert 6 <= len(re.findall(rb"/Type\s*/Page\b", drawn)) <= 10
    parts = facts["RNN"]["parts"]
    twice = facts["RNN"] | {"config": facts["RNN"]["config"] | {"layers": 2}}
    twice["parts"] = parts | {"deeper": parts["lstm"] + parts["fuse"]}
    change_json(path, "networks", value=facts | {"RNN": twice})
    assert re.search("memory and fusion: . 2 ", " ".join(pages(build.build(copy))))
    parts["lstm"][0]["shape"][-1] += 1
    change_json(path, "networks", value=facts)
    assert build.build(copy) != drawn
    change_json(path, "networks", value=facts | {"RNN": twice | {"parts": parts | {"deeper": parts["fuse"]}}})
    with pytest.raises(UserError, match="expected every further memory and fusion to be like the first"):
        build.build(copy)


def test_what_the_networks_learnt_from_is_told(copy):
    path = copy / "results" / "discussion" / "songs" / "measures.json"
    before, text = build.build(copy), path.read_text()
    files = re.search(r"taught: (\d+) files", json.loads(text)["networks"]["RNN"]["trained on"])[1]
    path.write_text(text.replace(f"taught: {files} files", f"taught: {int(files) + 1} files"))
    more = build.build(copy)
    path.write_text(re.sub(r"songs: \d+ files[^;]*;", "sand: 3 songs;", text))
    assert len({before, more, build.build(copy)}) == 3
    path.write_text(text.replace("taught: ", "tought: "))
    with pytest.raises(UserError, match="2_training"):
        build.build(copy)


def test_an_ablation_and_further_evaluations_are_shown(copy):
    shorter = build.build(copy)
    rows = ["mir1k,plain,1,5,17.1,RNN,0.1234,6.1,train_RNN.py", "mir1k,plain,2,5,17.3,RNN,0.1244,6.3,train_RNN.py"]
    header = "data,name,seed,epochs,minutes,network,valid_loss,GNSDR v2.1,command"
    (copy / "results" / "ablation.csv").write_text("\n".join([header, *rows]) + "\n")
    with_ablation = build.build(copy)
    assert with_ablation != shorter
    shutil.copytree(copy / "results" / "songs", copy / "results" / "other")
    assert build.build(copy) != with_ablation
