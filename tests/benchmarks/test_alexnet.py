"""AlexNet on the chip's hardware: no layer is slower than with the paper's own mapping."""

from pathlib import Path

from benchmarks import alexnet


def test_no_layer_is_slower_than_with_the_papers_mapping(tmp_path: Path) -> None:
    paper, ours = alexnet.paper(), alexnet.ours(tmp_path)
    assert len(paper) == len(ours) == 5
    assert all(own <= theirs for own, theirs in zip(ours, paper, strict=True))
    assert len(list(alexnet.lines(paper, ours))) == 7
