"""One model output of each kind."""

from bigtrain.models.output import LANGUAGE, Output, OutputKind

OUTPUTS = [
    LANGUAGE,
    Output(OutputKind.label, ("nein", "ja", "vielleicht")),
    Output(OutputKind.labels, ("nein", "ja", "vielleicht")),
    Output(OutputKind.score),
    Output(OutputKind.tags, ("O", "B-PER")),
    Output(OutputKind.span),
]
