"""docs/isa.md is what the classes say."""

from pathlib import Path

from dnncc.isa import core, manual

DOCUMENT = Path(__file__).parents[2] / "docs" / "isa.md"


def test_manual_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == manual.markdown(), (
        "python -m dnncc.isa.manual > docs/isa.md"
    )


def test_manual_has_every_field() -> None:
    text = manual.markdown()
    for cls in core.instruction_set().values():
        section = text.split(f"\n### {cls.mnemonic}\n")[1].split("\n### ")[0]
        own = [f for f in cls.layout if f.name not in manual.header_names()]
        assert all(f"| {f.offset} | {f.name} |" in section for f in own)
