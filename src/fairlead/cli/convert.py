"""`fairlead convert`: KServe's manifests as Fairlead's on stdout, and what does not come over on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fairlead.cli.data import DataOption, KubeconfigOption, QuietOption, find_kubeconfig
from fairlead.cli.failure import Failed

Json = dict[str, Any]

_SHOWN = 90
_NO_OBJECTS = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
"""Files among manifests that say how to put them together: `kubectl kustomize` does, its output can be read."""


def register(app: typer.Typer) -> None:
    app.command()(convert)


def convert(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders of YAML or JSON ('-' reads stdin).", metavar="FILE")
    ] = None,
    from_cluster: Annotated[
        bool, typer.Option("--from-cluster", help="Read KServe's objects from a cluster instead.")
    ] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Read this namespace alone. [default: all]")
    ] = None,
    output: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="Form of the result.")] = "yaml",
    runtime: Annotated[
        str, typer.Option(help="ServingRuntime that every service takes in place of what its own says.")
    ] = "",
    engine: Annotated[str, typer.Option(help="Engine of that runtime, where it is not one that Fairlead brings.")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when anything is lost.")] = False,
    notes: Annotated[bool, typer.Option("--notes", help="Say also what needs nobody's attention.")] = False,
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Turn KServe's manifests into Fairlead's, and say what is lost."""
    from fairlead.serving.convert import BadManifests, Severity, convert_manifests

    _refuse_contradictions(files, from_cluster, namespace, runtime, engine)
    given = _from_cluster(find_kubeconfig(data, kubeconfig), namespace) if from_cluster else _from_files(files or [])
    try:
        conversion = convert_manifests(given, runtime=runtime, engine=engine)
    except BadManifests as error:
        raise Failed("\n  ".join(["nothing is converted:", *error.problems])) from error
    objects = conversion.objects
    sys.stdout.write(_written(objects, output))
    refused = list(_refused(objects))
    if not quiet:
        lines = [line for each in conversion.converted for line in _said(each, notes=notes)]
        counts = ", ".join(
            f"{count} {severity.value}"
            for severity in Severity
            if (count := conversion.count(severity)) and (notes or severity is not Severity.NOTE)
        )
        read = len(conversion.converted)
        objects_read = f"{read} object{'s' if read != 1 else ''} read"
        lines.append(f"{objects_read}, {len(objects)} written; {counts or 'nothing lost or changed'}")
        print("\n".join(lines), file=sys.stderr)
    if refused:
        raise Failed("\n  ".join(["the API would refuse, and needs a hand:", *refused]))
    if strict and conversion.count(Severity.LOST):
        raise typer.Exit(1)


def _refuse_contradictions(
    files: Sequence[Path] | None, from_cluster: bool, namespace: str | None, runtime: str, engine: str
) -> None:
    from fairlead.api.serving_runtime import ENGINES

    if bool(files) == from_cluster:
        raise Failed("give files or folders of manifests ('-' for stdin), or --from-cluster, and not both")
    if namespace and not from_cluster:
        raise Failed("--namespace chooses what is read --from-cluster: manifests keep their own")
    if engine and (not runtime or engine not in ENGINES):
        raise Failed(f"--engine says which engine --runtime has: one of {', '.join(ENGINES)}")
    if runtime and not engine and runtime not in ENGINES:
        raise Failed(f"--runtime {runtime} is none that Fairlead brings: say with --engine which engine it has")


def _from_files(files: Sequence[Path]) -> list[Any]:
    """Raises Failed for what is no YAML of objects."""
    from fairlead.cli.schedule_documents import read_documents
    from fairlead.serving.convert import Given

    found = [each for each in read_documents(files) if Path(each.file).name not in _NO_OBJECTS]
    if not found:
        raise Failed(f"{', '.join(map(str, files))}: no API objects in there; give the manifests themselves")
    return [Given(each.where, each.obj) for each in found]


def _from_cluster(kubeconfig: Path | None, namespace: str | None) -> list[Any]:
    """KServe's objects as they are. Raises Failed where one kind may not be read."""
    from fairlead.cli.convert_cluster import read_foreign
    from fairlead.cli.service import with_client
    from fairlead.serving.convert import Given

    found: list[Given] = []

    async def read(client: Any) -> None:
        for obj in await read_foreign(client, namespace):
            metadata = obj["metadata"]
            named = f"{obj['kind']} {metadata.get('namespace', '')}/{metadata['name']}".replace(" /", " ")
            found.append(Given(f"the cluster ({named})", obj))

    with_client(kubeconfig, read)
    if not found:
        where = f"namespace {namespace}" if namespace else "the cluster"
        raise Failed(f"{where} has no objects of KServe: give files, or another --kubeconfig")
    return found


def _written(objects: Sequence[Json], output: str) -> str:
    import yaml

    if output == "json":
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
    return "---\n".join(yaml.dump(obj, Dumper=_Plain, sort_keys=False, width=10_000) for obj in objects)


def _plain_dumper() -> Any:
    import yaml

    class Plain(yaml.SafeDumper):
        """Without anchors, which nobody wants to read, and with texts of several lines as blocks."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Plain.add_representer(str, text)
    return Plain


_Plain = _plain_dumper()


def _said(each: Any, *, notes: bool) -> Iterator[str]:
    from fairlead.serving.convert import Severity

    losses = [loss for loss in each.losses if notes or loss.severity is not Severity.NOTE]
    if not losses:
        return
    yield f"{each.title} ({each.where.partition(' (')[0]})"
    for severity in Severity:
        for loss in losses:
            if loss.severity is severity:
                yield f"  {severity.value}: {loss.field} = {_short(loss.value)}"
                yield f"      {loss.why}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _refused(objects: Sequence[Json]) -> Iterator[str]:
    """What the API would say of the result, object by object."""
    from fairlead.cli.convert_check import refusals

    for obj in objects:
        for problem in refusals(obj):
            yield f"{obj['kind']} {obj['metadata']['name']}: {problem}"
