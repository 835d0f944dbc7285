"""A small compiled pipeline, with a loop, an exit handler and parameters of each type."""

from pathlib import Path

from kfp import compiler, dsl, kubernetes

NO_TAGS: list[str] = []


@dsl.component(base_image="ssfr/data:test", install_kfp_package=False)
def prepare(workdir: str, shards: int) -> str:
    return f"{workdir}/{shards}"


@dsl.component(base_image="ssfr/train:test", install_kfp_package=False)
def train(prepared: str, case: str, rate: float) -> str:
    return f"{prepared}/{case}/{rate}"


@dsl.component(base_image="ssfr/data:test", install_kfp_package=False)
def record() -> None:
    print("done")


@dsl.pipeline(name="small-study")
def small_study(
    workdir: str, shards: int = 2, rate: float = 0.5, quick: bool = False, tags: list[str] = NO_TAGS
) -> None:
    with dsl.ExitHandler(record()):
        prepared = prepare(workdir=workdir, shards=shards)
        with dsl.ParallelFor(["gas", "stars"], parallelism=2) as case:
            trained = train(prepared=prepared.output, case=case, rate=rate).set_retry(2)
            kubernetes.use_secret_as_env(trained, "ssfr-s3", {"accesskey": "AWS_ACCESS_KEY_ID"})


def compile_small(path: Path, image: str = "ssfr/train:test") -> Path:
    """Write the pipeline; another image makes it another version."""
    compiler.Compiler().compile(small_study, str(path))
    path.write_text(path.read_text().replace("ssfr/train:test", image))
    return path
