"""datatrove doing the stages of `prepare clean=web dedup=near pii=mask`: run by the Python that has it installed.

    python datatrove_prepare.py FOLDER_OF_JSONL TOKENIZER.json WORKERS        in an empty folder

Needs datatrove[processing]. ftfy, the rules of Gopher and C4, MinHash with 14 bands of 8 rows over word 5-grams, masks
of e-mail and IP addresses, tokens. Prints one JSON object: the seconds of each stage and of all.
"""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-not-found]
    from datatrove.pipeline.dedup import (  # type: ignore[import-not-found]
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig  # type: ignore[import-not-found]
    from datatrove.pipeline.filters import (  # type: ignore[import-not-found]
        C4QualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter  # type: ignore[import-not-found]
    from datatrove.pipeline.readers import JsonlReader  # type: ignore[import-not-found]
    from datatrove.pipeline.tokens import DocumentTokenizer  # type: ignore[import-not-found]
    from datatrove.pipeline.writers import JsonlWriter  # type: ignore[import-not-found]

    source, tokenizer, workers = sys.argv[1], str(Path(sys.argv[2]).resolve()), int(sys.argv[3])
    minhash = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    filters = [
        FTFYFormatter(),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
    ]
    last = [PIIFormatter(), DocumentTokenizer("tokens", tokenizer_name_or_path=tokenizer, shuffle_documents=False)]
    stages = {
        "filters": ([JsonlReader(source), *filters, JsonlWriter("kept", compression=None)], workers),
        "signatures": ([JsonlReader("kept"), MinhashDedupSignature("signatures", config=minhash)], workers),
        "buckets": ([MinhashDedupBuckets("signatures", "buckets", config=minhash)], minhash.num_buckets),
        "clusters": ([MinhashDedupCluster("buckets", "removed", config=minhash)], 1),
        "tokens": ([JsonlReader("kept"), MinhashDedupFilter("removed"), *last], workers),
    }
    seconds = {}
    for name, (pipeline, tasks) in stages.items():
        began = time.perf_counter()
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(tasks, workers), logging_dir=f"logs/{name}", skip_completed=False
        ).run()
        seconds[name] = time.perf_counter() - began
    print(json.dumps({"seconds": sum(seconds.values()), "stages": seconds}))


if __name__ == "__main__":
    main()
