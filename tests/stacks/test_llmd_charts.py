"""Charts rendered by the real helm, locked, and told when they cannot be had."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.cli.prepare import Prepared, prepare
from llmatrix.cluster import helm, kustomize, programs
from llmatrix.errors import EnvironmentFault, SpecError, UserError
from llmatrix.plan.step import Step
from llmatrix.spec.llmd import LlmdStack
from llmatrix.stacks.llmd import chart_lock, layers, placeholders
from tools.devcluster import layout

CACHE = layout.cache()


def _built(pattern: str) -> Path | None:
    return next(iter(sorted((CACHE / "bin").glob(pattern))), None)


HELM = shutil.which("helm") or _built("helm-*/helm")
GAIE = _built("gaie-*/manifests/charts/inferencepool")
KUBECTL = shutil.which("kubectl") or _built("kubernetes-*/kubectl")
needs_helm = pytest.mark.skipif(HELM is None, reason="no helm here")
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name | trunc CUT }}-picker", namespace: "{{ .Release.Namespace }}"}
spec:
  replicas: {{ required "how many? set .Values.replicas" .Values.replicas }}
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec:
      containers:
      - {name: c, image: "{{ .Values.image }}", args: ["--v={{ .Values.flags.v }}"]}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}"}
spec: {selector: {app: "{{ .Release.Name }}"}, ports: [{port: 9002}]}
"""
VALUES = {"replicas": 1, "image": "reg/picker:1", "flags": {"v": 1, "w": 2}}
EXPERIMENT: dict[str, Any] = {
    "name": "charted",
    "model": {"name": "tiny-1B", "tokenizer": "words"},
    "stack": {
        "kind": "llm-d",
        "router": {"chart": {"source": "chart", "values": {"flags": {"w": 3}}}},
        "server": {"simulated": True},
    },
    "workload": {
        "kind": "random",
        "question_len": 16,
        "output_len": 4,
        "prompt": "text",
        "load": {"rate": 5},
        "duration": "4s",
    },
}
FLAG = "stack.router.chart.values.flags.v"
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def programs_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if HELM is not None:
        monkeypatch.setenv(helm.VARIABLE, str(HELM))
    if KUBECTL is not None:
        monkeypatch.setenv(kustomize.VARIABLE, str(KUBECTL))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path / "helm"))


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A folder with a small chart."""
    folder = tmp_path / "chart"
    (folder / "templates").mkdir(parents=True)
    about = {"apiVersion": "v2", "name": "small", "version": "1.2.3"}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(about))
    (folder / "values.yaml").write_text(yaml.safe_dump(VALUES))
    (folder / "templates/deployment.yaml").write_text(DEPLOYMENT.replace("CUT", "60"))
    (folder / "templates/service.yaml").write_text(SERVICE)
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the experiment, with changes to its router and its matrix."""

    def written(router: dict[str, Any] | None = None, **matrix: Any) -> Path:
        document = json.loads(json.dumps(EXPERIMENT))
        if router is not None:
            document["stack"]["router"] = router
        if matrix:
            document["matrix"] = {FLAG if path == "v" else path: m for path, m in matrix.items()}
        file = tmp_path / "e.yaml"
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        return file

    return written


def sets(prepared: Prepared) -> list[list[dict[str, Any]]]:
    """Give what the router of each trial renders to, in the order of the file."""
    found = []
    for number in range(len(prepared.plan)):
        stack = prepared.plan.trial(number).treatment.stack
        assert isinstance(stack, LlmdStack)
        assert stack.router.rendered is not None
        assert stack.router.chart is None
        found.append(json.loads(stack.router.rendered.text))
    return found


def arguments(objects: list[dict[str, Any]]) -> list[str]:
    (only,) = [each for each in objects if each["kind"] == "Deployment"]
    told: list[str] = only["spec"]["template"]["spec"]["containers"][0]["args"]
    return told


def refused(file: Path, **options: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        prepare(file, (), (), **options)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


@needs_helm
@pytest.mark.usefixtures("chart")
def test_a_level_inside_the_values_changes_the_router_only(write: Write) -> None:
    prepared = prepare(write(v=[1, 4]), (), ())
    assert [arguments(each) for each in sets(prepared)] == [["--v=1"], ["--v=4"]]
    one, other = (prepared.plan.trial(number).keys for number in (0, 1))
    assert {step for step in layers.BRINGABLE if one[step] != other[step]} == {Step.ROUTER}
    name = sets(prepared)[0][-1]["metadata"]
    assert name == {
        "name": f"{placeholders.SITE}-picker",
        "namespace": placeholders.NAMESPACE,
    }


@needs_helm
def test_keys_hold_what_is_rendered_and_not_how(chart: Path, write: Write, tmp_path: Path) -> None:
    def router_key(router: dict[str, Any] | None = None) -> str:
        (tmp_path / chart_lock.LOCK).unlink(missing_ok=True)
        plan = prepare(write(router), (), ()).plan
        return plan.trial(0).keys[Step.ROUTER]

    first = router_key()
    assert router_key({"chart": {"source": "./chart", "values": {"flags": {"w": 99}}}}) == first
    assert router_key({"chart": {"source": "chart", "values": {"replicas": 1}}}) == first
    (chart / "templates/NOTES.txt").write_text("hello")
    assert router_key() == first
    assert router_key({"chart": {"source": "chart", "values": {"replicas": 2}}}) != first
    values = tmp_path / "two.yaml"
    values.write_text("replicas: 2\nimage: other\n")
    files = {"source": "chart", "values_files": ["two.yaml"], "values": {"image": "reg/picker:1"}}
    two = router_key({"chart": files})
    assert two == router_key({"chart": {"source": "chart", "values": {"replicas": 2}}})


@needs_helm
def test_a_treatment_that_does_not_render_is_named_and_so_are_those_that_do(
    chart: Path, write: Write
) -> None:
    path = "stack.router.chart.values.replicas"
    told = refused(write(**{path: [1, None, 2]}))
    assert len(told) == 2
    assert told[0].startswith(f"{chart.parent / 'e.yaml'}:")
    lines = (chart.parent / "e.yaml").read_text().splitlines()
    line = int(told[0].removeprefix(f"{chart.parent / 'e.yaml'}:").partition(":")[0])
    assert lines[line - 1].strip() == "- null"
    assert f"in the combination {path}=null: the chart does not render: " in told[0]
    assert "how many? set .Values.replicas" in told[0]
    assert "2 of 3 treatments render; nothing was started" in told[1]
    assert f"fine: {path}=1; {path}=2" in told[1]
    assert not (chart.parent / chart_lock.LOCK).exists()


@needs_helm
@pytest.mark.parametrize(
    ("template", "told"),
    [
        ('{{ fail "never" }}', "never"),
        ("a: {{ randAlphaNum 8 }}", "something in it is no object"),
        (
            'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "x-{{ randAlphaNum 8 | lower }}"}',
            "it renders differently each time",
        ),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}", "Secret s: the steps may not make"),
    ],
)
def test_what_a_chart_may_not_do_is_told(
    chart: Path, write: Write, template: str, told: str
) -> None:
    (chart / "templates/more.yaml").write_text(template)
    (first, last) = refused(write())
    assert told in first
    assert "stack.router.chart: " in first
    assert "0 of 1 treatments render" in last


@needs_helm
def test_a_chart_that_cuts_the_name_of_its_release_is_refused(chart: Path, write: Write) -> None:
    (chart / "templates/deployment.yaml").write_text(DEPLOYMENT.replace("CUT", "20"))
    assert "cuts the name of its release to 'llmatrix-site-placeh'" in refused(write())[0]


@needs_helm
def test_hooks_are_left_out_with_a_word(
    chart: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, annotations: {helm.sh/hook: test}}\n"
    (chart / "templates/hook.yaml").write_text(hook)
    assert [each["kind"] for each in sets(prepare(write(), (), ()))[0]] == ["Service", "Deployment"]
    assert "note: stack.router: Pod x: hooks of the chart, left out" in capsys.readouterr().err


@needs_helm
def test_the_lock_pins_the_chart_until_it_is_renewed(chart: Path, write: Write) -> None:
    file, lock = write(v=[1, 4]), chart.parent / chart_lock.LOCK
    prepare(file, (), ())
    written = lock.read_text()
    document = yaml.safe_load(written)
    assert document["images"] == {"reg/picker:1": None}
    assert [row["source"] for row in document["charts"]] == ["chart"]
    prepare(file, (), ())
    assert lock.read_text() == written
    (chart / "values.yaml").write_text(yaml.safe_dump({**VALUES, "replicas": 5}))
    told = refused(file)
    assert len(told) == 2  # once, whatever the number of treatments
    assert "the chart chart is no longer the one in llmatrix.lock" in told[0]
    assert "llmatrix plan FILE --update-lock" in told[0]
    assert lock.read_text() == written
    prepare(file, (), (), renew_lock=True)
    assert lock.read_text() != written
    prepare(file, (), ())


@needs_helm
def test_an_image_whose_digest_is_locked_is_taken_by_it(chart: Path, write: Write) -> None:
    file, lock = write(), chart.parent / chart_lock.LOCK
    before = prepare(file, (), ()).plan.trial(0).id
    digest = f"sha256:{'c' * 64}"
    lock.write_text(lock.read_text().replace("reg/picker:1: null", f"reg/picker:1: {digest}"))
    prepared = prepare(file, (), ())
    (container,) = sets(prepared)[0][-1]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"reg/picker:1@{digest}"
    assert prepared.plan.trial(0).id != before


@needs_helm
@pytest.mark.parametrize("text", ["charts: 3", "[", "charts: [{source: x}]", "images: {a: b}"])
def test_a_lock_that_is_none_is_told(chart: Path, write: Write, text: str) -> None:
    (chart.parent / chart_lock.LOCK).write_text(text)
    with pytest.raises(UserError, match=r"llmatrix\.lock: this is no lock of llmatrix"):
        prepare(write(), (), ())


def test_without_helm_it_says_so(
    chart: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(helm.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(chart))
    with pytest.raises(EnvironmentFault, match="rendered by helm, and there is none on the PATH"):
        prepare(write(), (), ())
    monkeypatch.setenv(helm.VARIABLE, "/no/such/helm")
    with pytest.raises(EnvironmentFault, match="LLMATRIX_HELM names /no/such/helm"):
        prepare(write(), (), ())


@pytest.fixture
def repository(chart: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A repository of charts, served; its address, and the folder that it is."""
    folder = tmp_path / "repository"
    folder.mkdir()
    programs.output([str(HELM), "package", str(chart), "--destination", str(folder)])
    programs.output([str(HELM), "repo", "index", str(folder)])

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None: ...

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@needs_helm
def test_a_chart_of_a_repository_is_fetched_once_and_pinned(
    repository: tuple[str, Path], chart: Path, write: Write
) -> None:
    url, folder = repository
    router = {"chart": {"source": url, "name": "small", "version": "1.2.3"}}
    file = write(router)
    here = sets(prepare(file, (), ()))
    (row,) = yaml.safe_load((chart.parent / chart_lock.LOCK).read_text())["charts"]
    assert {key: row[key] for key in ("source", "name", "version")} == router["chart"]
    (archive,) = folder.glob("*.tgz")
    moved = archive.rename(folder / "gone")
    assert sets(prepare(file, (), ())) == here  # from the cache: nobody is asked
    # Somebody publishes something else under the same version.
    (chart / "values.yaml").write_text(yaml.safe_dump({**VALUES, "replicas": 9}))
    programs.output([str(HELM), "package", str(chart), "--destination", str(folder)])
    programs.output([str(HELM), "repo", "index", str(folder)])
    assert sets(prepare(file, (), ())) == here
    shutil.rmtree(chart.parent / "cache")
    assert "no longer the one in llmatrix.lock" in refused(file)[0]
    assert sets(prepare(file, (), (), renew_lock=True)) != here
    moved.unlink()


@pytest.fixture
def registry(chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry with the chart, as far as a pull needs one (OCI Distribution 1.1); its name."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl here, and helm pulls over TLS only")
    programs.output([str(HELM), "package", str(chart), "--destination", str(tmp_path)])
    (archive,) = tmp_path.glob("*.tgz")
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {key} -out {certificate} -subj"
    name = "subjectAltName=DNS:localhost"
    programs.output([openssl, *words.split(), "/CN=localhost", "-addext", name])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    blobs: dict[str, bytes] = {}

    def stored(kind: str, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blobs[digest] = data
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    helms, image = "application/vnd.cncf.helm", "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": image,
        "config": stored(f"{helms}.config.v1+json", b'{"name":"small","version":"1.2.3"}'),
        "layers": [stored(f"{helms}.chart.content.v1.tar+gzip", archive.read_bytes())],
    }
    described = stored(image, json.dumps(manifest).encode())

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words: Any) -> None: ...

        def do_GET(self) -> None:
            _, _, *path, _, wanted = self.path.split("/")
            digest = described["digest"] if wanted == "1.2.3" else wanted
            data = blobs.get(digest) if path == ["charts", "small"] else None
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Type", image)
            self.send_header("Docker-Content-Digest", digest)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data or b"")

        do_HEAD = do_GET  # noqa: N815 - as http.server calls it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


@needs_helm
def test_a_chart_of_a_registry_is_pulled_and_pinned(
    registry: str, chart: Path, write: Write
) -> None:
    source = f"oci://{registry}/charts/small"
    (objects,) = sets(prepare(write({"chart": {"source": source, "version": "1.2.3"}}), (), ()))
    assert arguments(objects) == ["--v=1"]
    (row,) = yaml.safe_load((chart.parent / chart_lock.LOCK).read_text())["charts"]
    (archive,) = chart.parent.glob("*.tgz")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert row == {"source": source, "version": "1.2.3", "digest": f"sha256:{digest}"}
    told = refused(write({"chart": {"source": source, "version": "1.2.4"}}))
    assert "the chart cannot be fetched: " in told[0]
    assert "1.2.4" in told[0]


@needs_helm
def test_a_chart_that_is_not_there_is_told(
    repository: tuple[str, Path], write: Write, tmp_path: Path
) -> None:
    url, _ = repository
    told = refused(write({"chart": {"source": url, "name": "smaller", "version": "1.2.3"}}))
    assert "smaller" in told[0]
    assert (
        "the folder 'nowhere' is not there" in refused(write({"chart": {"source": "nowhere"}}))[0]
    )
    (tmp_path / "empty").mkdir()
    assert "holds no Chart.yaml" in refused(write({"chart": {"source": "empty"}}))[0]


MANIFESTS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: p}
spec:
  template:
    metadata: {labels: {app: p}}
    spec: {containers: [{name: c, image: reg/p:1}]}
---
apiVersion: v1
kind: Service
metadata: {name: p}
spec: {selector: {app: p}, ports: [{port: 9002}]}
"""


def test_manifests_are_taken_as_they_are(write: Write, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFESTS)
    (objects,) = sets(prepare(write({"manifests": ["m.yaml"]}), (), ()))
    assert [each["kind"] for each in objects] == ["Service", "Deployment"]
    told = refused(write({"manifests": ["n.yaml"]}))
    assert "stack.router.manifests: the file 'n.yaml' is not there" in told[0]


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl here")
def test_a_kustomization_is_built(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "k"
    folder.mkdir()
    (folder / "m.yaml").write_text(MANIFESTS)
    prefix = f"namePrefix: {placeholders.SITE}-\nresources: [m.yaml]\n"
    (folder / "kustomization.yaml").write_text(prefix)
    (objects,) = sets(prepare(write({"kustomize": "k"}), (), ()))
    assert {each["metadata"]["name"] for each in objects} == {f"{placeholders.SITE}-p"}
    (folder / "kustomization.yaml").write_text("resources: [absent.yaml]\n")
    told = refused(write({"kustomize": "k"}))
    assert "stack.router.kustomize: the kustomization does not render: " in told[0]
    assert "absent.yaml" in told[0]


@needs_helm
@pytest.mark.skipif(GAIE is None, reason="the inferencepool chart is not in the cache")
def test_the_real_chart_of_the_picker_renders(write: Write) -> None:
    labels = {"modelServers": {"matchLabels": {"llmatrix.dev/step": "server"}}}
    router = {"chart": {"source": str(GAIE), "values": {"inferencePool": labels}}}
    path = "stack.router.chart.values.inferenceExtension.flags.v"
    prepared = prepare(write(router, **{path: [1, 5]}), (), ())
    one, other = sets(prepared)
    kinds = sorted(each["kind"] for each in one)
    assert kinds == [
        "ConfigMap",
        "Deployment",
        "InferencePool",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    ]
    changed = [a["kind"] for a, b in zip(one, other, strict=True) if a != b]
    assert changed == ["Deployment"]
    told = refused(
        write(
            {"chart": {"source": str(GAIE), "values": {"inferencePool": labels}}},
            **{"stack.router.chart.values.inferenceExtension.replicas": [1, 2]},
        )
    )
    assert "Role llmatrix-site-placeholder-epp-leader-election gives a right" in told[0]
    told = refused(write({"chart": {"source": str(GAIE)}}))
    assert ".Values.inferencePool.modelServers.matchLabels is required" in told[0]
