"""Finding plugins: whatever one of them does, the others work and the user learns what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

import covary
from covary import (
    AmbiguousNameError,
    CheckpointError,
    IncompatibleApiError,
    MissingPackageError,
    PluginError,
    UnknownNameError,
)
from covary._cuda import cuda_devices, cuda_driver
from covary._registry import Problem, registry, user_registry
from plugin_factory import write_plugin

BUILTINS = {entry.name for entry in covary.read_catalogue().component}

OFFER = """
import covary

@covary.hookimpl
def covary_components():
    return [covary.Component(kind="{kind}", name="{name}", target="{target}" {more})]
"""


def offer(
    name: str = "groups",
    kind: str = "clusterer",
    target: str = "tiny_components:Distinct",
    more: str = "",
) -> str:
    """Source of a plugin that offers one component."""
    return OFFER.format(name=name, kind=kind, target=target, more=more and f", {more}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site folder; modules imported from it are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def ids(kind: str | None = None) -> set[str]:
    registry.cache_clear()
    return {entry.id for entry in covary.components(kind)}


def problem_of(namespace: str) -> Problem:
    registry.cache_clear()
    (found,) = [p for p in covary.problems() if p.namespace == namespace]
    return found


class TestBuiltins:
    def test_are_all_found_without_a_problem(self) -> None:
        assert ids() == {f"covary/{name}" for name in BUILTINS}
        assert covary.problems() == ()

    def test_have_an_interface_that_loads(self) -> None:
        for entry in covary.components():
            loaded = entry.load()
            assert loaded.Params.model_json_schema()["type"] == "object"
            assert (loaded.__doc__ or "").strip(), entry.id

    def test_are_listed_by_kind(self) -> None:
        for entry in covary.components("clusterer"):
            assert entry.kind == "clusterer"
        with pytest.raises(UnknownNameError, match="did you mean 'clusterer'"):
            covary.components("clusterers")


HOOKIMPL = "import covary\n@covary.hookimpl\n"

BROKEN: dict[str, tuple[str, str, str]] = {
    "import error": ("import a_package_that_nobody_has", "ModuleNotFoundError", "report it"),
    "syntax error": ("def covary_components(:", "SyntaxError", "report it"),
    "exit while imported": ("raise SystemExit(3)", "SystemExit: 3", "report it"),
    "no hook": ("x = 1", "implements no hook", "define covary_components()"),
    "hook without its mark": (
        "def covary_components(): return []",
        "covary_components() is not decorated",
        "decorate it with @covary.hookimpl",
    ),
    "misspelt hook without its mark": (
        "def covary_component(): return []",
        "covary_component() is not decorated",
        "rename it to covary_components and decorate it with @covary.hookimpl",
    ),
    "hook with the mark of another project": (
        "import pluggy\n@pluggy.HookimplMarker('pytest')\ndef covary_components(): return []",
        "decorated by the hookimpl of 'pytest'",
        "decorate it with @covary.hookimpl",
    ),
    "misspelt hook": (
        HOOKIMPL + "def covary_component(): return []",
        "unknown hook 'covary_component'",
        "did you mean 'covary_components'?",
    ),
    "hook of another name": (
        HOOKIMPL + "def register_my_things(): return []",
        "unknown hook 'register_my_things'",
        "covary's hook is covary_components",
    ),
    "hook with an argument of its own": (
        HOOKIMPL + "def covary_components(config): return []",
        "config",
        "takes no arguments",
    ),
    "hook raises": (
        HOOKIMPL + "def covary_components(): return 1 / 0",
        "ZeroDivisionError",
        "report it",
    ),
    "hook raises half-way": (
        HOOKIMPL + "def covary_components():\n"
        "  yield covary.Component(kind='clusterer', name='a', target='m:C')\n  raise SystemExit",
        "SystemExit",
        "report it",
    ),
    "hook returns None": (
        HOOKIMPL + "def covary_components(): pass",
        "returned None, expected covary.Component entries",
        "return a list of covary.Component",
    ),
    "hook returns a number": (
        HOOKIMPL + "def covary_components(): return 7",
        "returned int, expected covary.Component entries",
        "return a list of covary.Component",
    ),
    "hook returns text": (
        HOOKIMPL + "def covary_components(): return 'kmeans'",
        "returned str of str, expected covary.Component entries",
        "return a list of covary.Component",
    ),
    "hook returns an object that cannot be shown": (
        "import covary\nclass Odd:\n  def __repr__(self): raise RuntimeError\n"
        "@covary.hookimpl\ndef covary_components(): return [Odd()]",
        "returned list of Odd",
        "return a list of covary.Component",
    ),
    "component that does not validate": (
        offer(kind="clusterrer"),
        "covary.Component: kind: Input should be 'source', 'features', 'clusterer'",
        "correct 'kind'",
    ),
    "component made half-way that does not validate": (
        HOOKIMPL + "def covary_components():\n"
        "  yield covary.Component(kind='clusterer', name='Upper Case', target='m:C')",
        "covary.Component: name: String should match pattern",
        "correct 'name'",
    ),
    "component that was never validated": (
        HOOKIMPL + "def covary_components():\n"
        "  return [covary.Component.model_construct(kind='clusterer', name='a')]",
        "covary.Component: target: Field required",
        "correct 'target'",
    ),
    "one component twice": (
        HOOKIMPL + "def covary_components():\n"
        "  return [covary.Component(kind='clusterer', name='a', target='m:C')] * 2",
        "offers the clusterer 'a' twice",
        "report it",
    ),
}


class TestBrokenPlugins:
    @pytest.mark.parametrize("kind", BROKEN)
    def test_one_leaves_the_others_working(self, kind: str, site: Path) -> None:
        source, message, fix = BROKEN[kind]
        write_plugin(site, "broken", source, distribution="a-broken-one")
        write_plugin(site, "healthy", offer())
        assert ids("clusterer") >= {"healthy/groups", "covary/lloyd"}
        assert not any(name.startswith("broken/") for name in ids())
        problem = problem_of("broken")
        assert message in problem.what
        assert problem.distribution == "a-broken-one"
        assert fix in problem.fix
        assert "\n" not in problem.what
        assert covary.create("groups").id == "healthy/groups"

    def test_all_of_them_together(self, site: Path) -> None:
        for i, (source, *_) in enumerate(BROKEN.values()):
            write_plugin(site, f"broken{i}", source)
        write_plugin(site, "healthy", offer())
        assert "healthy/groups" in ids()
        assert {p.namespace for p in covary.problems()} == {
            f"broken{i}" for i in range(len(BROKEN))
        }

    @pytest.mark.parametrize(
        ("target", "message", "fix"),
        [
            ("no_such_module", "there is no module 'no_such_module'", "correct [project"),
            ("covary_brokn", "no module 'covary_brokn'", "did you mean 'covary_broken'? correct"),
            ("covary_broken.hooks", "there is no module 'covary_broken.hooks'", "install it again"),
            ("acme_kit.hook", "no module 'acme_kit.hook'", "did you mean 'acme_kit.hooks'?"),
            ("covary_broken:no_such", "has no 'no_such'", "name the module alone"),
            ("covary_broken:hook", "names a function", "name the module alone, 'covary_broken'"),
            ("not a module", "not a module: its entry point is not of the form", "correct"),
        ],
    )
    def test_entry_point_to_nothing(self, site: Path, target: str, message: str, fix: str) -> None:
        write_plugin(site, "broken", "def hook(): return []", target=target)
        write_plugin(site, "healthy", offer())
        (site / "acme_kit").mkdir()
        for name in ("__init__", "hooks"):
            (site / "acme_kit" / f"{name}.py").touch()
        assert "healthy/groups" in ids()
        problem = problem_of("broken")
        assert message in problem.what
        assert fix in problem.fix

    def test_a_module_that_a_plugin_s_module_lacks_is_not_mistaken_for_it(self, site: Path) -> None:
        write_plugin(site, "broken", "import covary_brokenly")
        problem = problem_of("broken")
        assert "ModuleNotFoundError: No module named 'covary_brokenly'" in problem.what
        assert "entry point" not in problem.what + problem.fix

    @pytest.mark.parametrize(
        ("group", "meant"),
        [
            ("covery", "covary"),
            ("Covary", "covary"),
            ("covary.plugins", "covary"),
            ("covary_components", "covary"),
            ("covary.command", "covary.commands"),
            ("covary-commands", "covary.commands"),
        ],
    )
    def test_an_entry_point_in_a_group_that_is_nearly_ours(
        self, site: Path, monkeypatch: pytest.MonkeyPatch, group: str, meant: str
    ) -> None:
        write_plugin(site, "acme", offer(), group=group)
        problem = problem_of("acme")
        assert repr(group) in problem.what
        assert f"did you mean {meant!r}?" in problem.fix
        with pytest.raises(UnknownNameError, match="which covary does not read"):
            covary.create("acme/groups")
        monkeypatch.setenv("COVARY_DISABLE", "acme")
        registry.cache_clear()
        assert covary.problems() == ()

    @pytest.mark.parametrize("group", ["coverage", "canary", "library", "console_scripts"])
    def test_groups_of_others_are_left_alone(self, site: Path, group: str) -> None:
        write_plugin(site, "acme", offer(), group=group)
        registry.cache_clear()
        assert covary.problems() == ()

    @pytest.mark.parametrize(
        ("distribution", "requires", "told"),
        [
            ("acme", "", True),
            ("covary-acme", "", True),
            ("acme-covary", "", True),
            ("acme-tools", "covary>=0.1", True),
            ("acme-tools", "covary-sam", False),
            ("acme-tools", "covary; extra == 'all'", False),
            ("tools", "covary", False),
        ],
    )
    def test_a_name_of_a_distribution_without_entry_point(
        self, site: Path, distribution: str, requires: str, told: bool
    ) -> None:
        write_plugin(site, "x", "", distribution=distribution, group="other", requires=requires)
        registry.cache_clear()
        with pytest.raises(UnknownNameError) as caught:
            covary.create("acme/kmeans")
        hint = (
            f"{distribution} is installed and offers no plugin: add [project.entry-points.covary]"
        )
        assert (hint in caught.value.fix) is told

    def test_metadata_that_an_interrupted_uninstall_left(self, site: Path) -> None:
        write_plugin(site, "healthy", offer())
        write_plugin(site, "gone", "raise ImportError('half of me is gone')")
        (site / "covary_gone-1.0.dist-info" / "METADATA").unlink()
        assert "healthy/groups" in ids()
        problem = problem_of("gone")
        assert "half of me is gone" in problem.what
        assert problem.distribution == "unknown distribution"

    def test_a_name_from_a_broken_plugin_says_what_is_wrong_with_it(self, site: Path) -> None:
        write_plugin(site, "acme", "raise RuntimeError('no licence file')")
        with pytest.raises(UnknownNameError, match=r"no licence file.*covary doctor"):
            covary.create("acme/kmeans")

    def test_stopping_python_is_not_a_broken_plugin(self, site: Path) -> None:
        write_plugin(site, "slow", "raise KeyboardInterrupt")
        registry.cache_clear()
        with pytest.raises(KeyboardInterrupt):
            covary.components()

    @pytest.mark.parametrize("source", [BROKEN["hook raises"][0], "raise ZeroDivisionError"])
    def test_raise_shows_the_traceback(
        self, site: Path, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        write_plugin(site, "broken", source)
        monkeypatch.setenv("COVARY_RAISE", "1")
        registry.cache_clear()
        with pytest.raises(ZeroDivisionError):
            covary.components()
        monkeypatch.setenv("COVARY_RAISE", "0")
        assert "ZeroDivisionError" in problem_of("broken").what


class TestNamespaces:
    def test_two_distributions_with_one_namespace_both_stay_out(self, site: Path) -> None:
        write_plugin(site, "acme", offer("one"), distribution="acme-first")
        write_plugin(site, "acme", offer("two"), distribution="acme-second")
        write_plugin(site, "healthy", offer())
        assert ids("clusterer") & {"acme/one", "acme/two"} == set()
        assert "healthy/groups" in ids()
        problem = problem_of("acme")
        assert "acme-first and acme-second" in problem.what
        assert "uninstall one" in problem.fix

    @pytest.mark.parametrize("namespace", ["covary", "user", "local"])
    def test_reserved_ones_are_refused(self, site: Path, namespace: str) -> None:
        write_plugin(site, namespace, offer("mine"), distribution="stranger")
        assert ids() == {f"covary/{name}" for name in BUILTINS}
        problem = problem_of(namespace)
        assert (problem.distribution, "reserved" in problem.what) == ("stranger", True)
        assert "stranger" in problem.fix

    @pytest.mark.parametrize("namespace", ["Acme", "my plugin", "_x", "a/b"])
    def test_ones_that_make_no_id_are_refused(self, site: Path, namespace: str) -> None:
        write_plugin(site, namespace, offer(), distribution="odd")
        assert ids() == {f"covary/{name}" for name in BUILTINS}
        assert "rename" in problem_of(namespace).fix

    def test_one_distribution_may_have_two(self, site: Path) -> None:
        write_plugin(site, "one", offer(), distribution="both")
        points = site / "both-1.0.dist-info" / "entry_points.txt"
        points.write_text("[covary]\none = both\ntwo = both\n")
        assert ids("clusterer") >= {"one/groups", "two/groups"}

    def test_the_same_distribution_seen_twice_is_one(self, site: Path, tmp_path: Path) -> None:
        write_plugin(site, "acme", offer(), distribution="acme")
        sys.path.append(str(tmp_path / "copy"))
        try:
            write_plugin(tmp_path / "copy", "acme", offer(), distribution="acme", version="2.0")
            assert "acme/groups" in ids()
            assert covary.problems() == ()
        finally:
            sys.path.remove(str(tmp_path / "copy"))


class TestApiVersion:
    @pytest.mark.parametrize("api", ["1.0", covary.API_VERSION])
    def test_accepts_ours(self, site: Path, api: str) -> None:
        write_plugin(site, "acme", offer(more=f"api='{api}'"))
        assert covary.create("acme/groups").id == "acme/groups"
        assert covary.problems() == ()

    def test_accepts_an_older_minor(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("covary._registry.API_VERSION", "1.4")
        write_plugin(site, "acme", offer(more="api='1.3'"))
        assert covary.create("acme/groups").id == "acme/groups"
        assert covary.problems() == ()

    @pytest.mark.parametrize("api", ["1.3", "1.10", "2.0", "0.9"])
    def test_lists_others_and_refuses_them(self, site: Path, api: str) -> None:
        write_plugin(site, "acme", offer(more=f"api='{api}'"))
        assert "acme/groups" in ids()
        problem = problem_of("acme")
        assert f"plugin API {api}, this is {covary.API_VERSION}" in problem.what
        for use in (covary.create, lambda name: registry().find(name).load()):
            with pytest.raises(IncompatibleApiError, match=rf"{api}, this is 1\.2.*upgrade"):
                use("acme/groups")


class TestNames:
    def test_a_short_name_means_the_builtin(self, site: Path) -> None:
        write_plugin(site, "acme", offer("lloyd"))
        assert covary.create("lloyd").id == "covary/lloyd"
        assert covary.create("acme/lloyd").id == "acme/lloyd"
        marked = {entry.id: entry.preferred for entry in covary.components("clusterer")}
        assert (marked["covary/lloyd"], marked["acme/lloyd"]) == (True, False)

    def test_a_short_name_means_the_only_one(self, site: Path) -> None:
        write_plugin(site, "acme", offer())
        assert covary.create("groups").id == "acme/groups"

    def test_several_strangers_are_ambiguous(self, site: Path) -> None:
        write_plugin(site, "acme", offer())
        write_plugin(site, "zeta", offer())
        with pytest.raises(AmbiguousNameError, match=r"acme/groups.*zeta/groups.*full id"):
            covary.create("groups")
        assert covary.create("zeta/groups").id == "zeta/groups"
        assert not any(e.preferred for e in covary.components() if e.name == "groups")

    def test_the_kind_decides_between_two_of_one_name(self, site: Path) -> None:
        source = """
            import covary

            @covary.hookimpl
            def covary_components():
                for kind, target in (("clusterer", "Distinct"), ("foreground", "Rest")):
                    target = f"tiny_components:{target}"
                    yield covary.Component(kind=kind, name="x", target=target)
            """
        write_plugin(site, "acme", source)
        for name in ("x", "acme/x"):
            assert covary.create(name, kind="foreground", nothing=True).params.nothing
            with pytest.raises(AmbiguousNameError, match=r"clusterer.*foreground"):
                covary.create(name)

    def test_hints(self, site: Path) -> None:
        write_plugin(site, "acme", offer("spectral"))
        cases = {
            ("loyd", None): "did you mean 'lloyd'",
            ("acme/spectrall", None): "did you mean 'acme/spectral'",
            ("lloyd", "source"): "'lloyd' is a clusterer, not a source",
            ("acme/spectral", "foreground"): "is a clusterer, not a foreground",
            ("zzz", "features"): "choose from: lab, rgb",
        }
        for (name, kind), hint in cases.items():
            with pytest.raises(UnknownNameError, match=f"there is no .*{hint}"):
                covary.create(name, kind=kind)

    def test_a_known_plugin_says_how_to_install_it(self, site: Path) -> None:
        source = """
            import covary
            from covary.catalogue import KnownPlugin

            @covary.hookimpl
            def covary_components():
                return [KnownPlugin(distribution="covary-sam", namespace="sam", provides=["sam"])]
            """
        write_plugin(site, "acme", source)
        for name in ("sam", "sam/sam", "sam/other"):
            with pytest.raises(UnknownNameError, match="pip install covary-sam"):
                covary.create(name)


class TestSwitches:
    @pytest.fixture(autouse=True)
    def _two_plugins(self, site: Path) -> None:
        write_plugin(site, "acme", offer())
        write_plugin(site, "zeta", offer("other"))

    @pytest.mark.parametrize(
        ("allow", "deny", "left"),
        [
            (None, None, {"covary", "acme", "zeta"}),
            ("", None, {"covary"}),
            ("acme", None, {"covary", "acme"}),
            (" acme , zeta ,", None, {"covary", "acme", "zeta"}),
            ("nobody", None, {"covary"}),
            (None, "zeta", {"covary", "acme"}),
            (None, "zeta,acme", {"covary"}),
            ("acme,zeta", "acme", {"covary", "zeta"}),
            (None, "covary", {"acme", "zeta"}),
        ],
    )
    def test_allow_and_deny(
        self,
        monkeypatch: pytest.MonkeyPatch,
        allow: str | None,
        deny: str | None,
        left: set[str],
    ) -> None:
        for name, value in (("COVARY_PLUGINS", allow), ("COVARY_DISABLE", deny)):
            if value is not None:
                monkeypatch.setenv(name, value)
        assert {name.split("/")[0] for name in ids()} == left

    def test_a_plugin_that_is_switched_off_is_not_imported(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_plugin(site, "broken", "raise SystemExit")
        monkeypatch.setenv("COVARY_DISABLE", "broken")
        registry.cache_clear()
        assert covary.problems() == ()
        assert "covary_broken" not in sys.modules

    def test_one_of_two_rivals_cannot_be_told_apart_but_both_can_be_switched_off(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_plugin(site, "acme", offer(), distribution="rival")
        assert "rival" in problem_of("acme").what
        monkeypatch.setenv("COVARY_PLUGINS", "")
        registry.cache_clear()
        assert covary.problems() == ()

    def test_trace_names_every_plugin_on_stderr(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ids()
        assert capsys.readouterr().err == ""
        monkeypatch.setenv("COVARY_TRACE", "1")
        ids()
        captured = capsys.readouterr()
        assert captured.out == ""
        for name in ("covary", "acme", "zeta"):
            assert f"plugin {name} in " in captured.err

    def test_the_registry_is_scanned_once(self, site: Path) -> None:
        assert "late/groups" not in ids()
        write_plugin(site, "late", offer())
        assert "late/groups" not in {entry.id for entry in covary.components()}
        assert "late/groups" in ids()


NEEDY = """
import covary

class Needy(covary.Clusterer):
    '''Groups with a package of its own.'''

    class Params(covary.Params):
        k: int = 3

    def fit(self, summary, ctx=None):
        raise NotImplementedError
"""


class TestMissingPackages:
    def write(self, site: Path, more: str, head: str = "") -> None:
        (site / "needy.py").write_text(head + NEEDY)
        write_plugin(site, "acme", offer("needy", target="needy:Needy", more=more))

    def test_inspecting_works_and_creating_says_what_to_install(self, site: Path) -> None:
        self.write(site, "requires=['no_such_engine'], extra='engine'")
        entry = registry().find("needy")
        assert entry.missing() == ("no_such_engine",)
        assert "k" in entry.load().Params.model_json_schema()["properties"]
        with pytest.raises(
            MissingPackageError, match=r"no_such_engine; run: pip install 'covary-acme\[engine\]'"
        ) as caught:
            covary.create("needy")
        assert isinstance(caught.value, ImportError)

    def test_without_an_extra_the_package_itself_is_named(self, site: Path) -> None:
        self.write(site, "requires=['no_such_engine', 'torch']")
        with pytest.raises(MissingPackageError, match=r"run: pip install no_such_engine$"):
            covary.create("needy")

    def test_a_module_that_imports_it_at_the_top_gets_the_same_answer(self, site: Path) -> None:
        self.write(site, "requires=['no_such_engine'], extra='engine'", "import no_such_engine\n")
        assert covary.problems() == ()
        with pytest.raises(MissingPackageError, match=r"pip install 'covary-acme\[engine\]'"):
            covary.create("needy")

    def test_parameters_are_not_judged_before_the_packages_are_there(self, site: Path) -> None:
        self.write(site, "requires=['no_such_engine']")
        with pytest.raises(MissingPackageError):
            covary.create("needy", nonsense=1)

    def test_a_builtin_names_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "faiss", None)
        with pytest.raises(MissingPackageError, match=r"run: pip install 'covary\[faiss\]'"):
            covary.create("faiss")


class TestGpus:
    def entry(self, site: Path, devices: tuple[str, ...], requires: tuple[str, ...] = ()):
        write_plugin(site, "acme", offer("fast", more=f"devices={devices}, requires={requires}"))
        return registry().find("fast")

    def test_without_a_gpu_the_reason_is_given_and_creating_works(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("covary._registry.cuda_devices", lambda: 0)
        entry = self.entry(site, ("cuda",))
        assert entry.unavailable() == "needs a CUDA GPU (none was found)"
        assert "NVIDIA GPU" in entry.remedy()
        assert covary.create("fast").id == "acme/fast"

    def test_with_one_there_is_nothing_to_say(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("covary._registry.cuda_devices", lambda: 1)
        entry = self.entry(site, ("cuda",))
        assert entry.unavailable() == entry.remedy() == ""

    def test_both_a_gpu_and_packages_may_be_missing(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("covary._registry.cuda_devices", lambda: 0)
        entry = self.entry(site, ("cuda",), ("no_such_engine",))
        assert entry.unavailable() == "needs no_such_engine and a CUDA GPU (none was found)"
        assert entry.remedy().startswith("on a machine with an NVIDIA GPU")
        assert entry.remedy().endswith("run: pip install no_such_engine")

    def test_what_also_runs_elsewhere_asks_no_driver(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("covary._registry.cuda_devices", lambda: pytest.fail("asked"))
        assert self.entry(site, ("cpu", "cuda")).unavailable() == ""


class Driver:
    """As much of the CUDA driver's interface as is asked."""

    def __init__(self, devices: int, fails: str = "") -> None:
        self.devices, self.fails = devices, fails

    def cuInit(self, flags: int) -> int:
        return 100 if self.fails == "init" else 0

    def cuDriverGetVersion(self, version) -> int:
        version._obj.value = 12040 if self.devices else 0
        return 3 if self.fails == "version" else 0

    def cuDeviceGetCount(self, count) -> int:
        count._obj.value = self.devices
        return 3 if self.fails == "count" else 0


class TestDriver:
    @pytest.fixture(autouse=True)
    def _ask_again(self) -> Iterator[None]:
        cuda_devices.cache_clear()
        yield
        cuda_devices.cache_clear()

    @pytest.mark.parametrize(
        ("driver", "devices"), [(Driver(2), 2), (Driver(2, "init"), 0), (Driver(2, "count"), 0)]
    )
    def test_says_how_many_devices(
        self, monkeypatch: pytest.MonkeyPatch, driver: Driver, devices: int
    ) -> None:
        monkeypatch.setattr("ctypes.CDLL", lambda name: driver)
        assert cuda_devices() == devices

    def test_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(name: str) -> None:
            raise OSError(f"{name}: cannot open shared object file")

        monkeypatch.setattr("ctypes.CDLL", absent)
        assert cuda_devices() == 0
        assert cuda_driver() == ""

    @pytest.mark.parametrize(
        ("driver", "version"), [(Driver(2), "12.4"), (Driver(0), ""), (Driver(2, "version"), "")]
    )
    def test_says_which_cuda_it_can_run(
        self, monkeypatch: pytest.MonkeyPatch, driver: Driver, version: str
    ) -> None:
        monkeypatch.setattr("ctypes.CDLL", lambda name: driver)
        assert cuda_driver() == version

    def test_agrees_with_torch(self) -> None:
        import torch

        if not torch.version.cuda:
            pytest.skip("torch is built without CUDA")
        assert cuda_devices() == torch.cuda.device_count()


class TestTargets:
    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("no_such_module:X", "there is no module 'no_such_module'; correct `target`"),
            ("tiny_component:X", "no module .*did you mean 'tiny_components'"),
            ("tiny_components.x:X", "there is no module 'tiny_components.x'; correct `target`"),
            ("tiny_components:Distinkt", "no 'Distinkt'; did you mean 'Distinct'"),
            ("tiny_components:Nope", "no 'Nope'; it has .*Distinct.*; correct `target`"),
            ("covary.errors:Nope", "covary.errors has no 'Nope'; correct `target`"),
            ("tiny_components:stripe_map", "expected a subclass of covary.Clusterer, got"),
            ("tiny_components:Rest", "expected a subclass of covary.Clusterer, got"),
            ("covary.interfaces:Clusterer", "does not implement fit"),
        ],
    )
    def test_that_are_no_such_component(self, site: Path, target: str, message: str) -> None:
        write_plugin(site, "acme", offer(target=target))
        assert "acme/groups" in ids()
        with pytest.raises(PluginError, match=rf"acme/groups.*{message}.*covary-acme"):
            covary.create("acme/groups")

    def test_errors_of_its_own_are_not_mistaken_for_a_wrong_target(self, site: Path) -> None:
        (site / "own.py").write_text("import json\njson.no_such_thing")
        write_plugin(site, "acme", offer(target="own:X"))
        registry.cache_clear()
        with pytest.raises(PluginError, match=r"AttributeError: .*no_such_thing") as caught:
            covary.create("acme/groups")
        assert "target" not in caught.value.fix

    def test_that_exit_while_imported(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (site / "exiting.py").write_text("raise SystemExit('bye')")
        write_plugin(site, "acme", offer(target="exiting:X"))
        with pytest.raises(PluginError, match="SystemExit: bye"):
            covary.create("acme/groups")
        monkeypatch.setenv("COVARY_RAISE", "1")
        with pytest.raises(SystemExit):
            covary.create("acme/groups")

    def test_parameters_may_have_any_name(self, site: Path) -> None:
        source = """
            from tiny_components import Distinct
            import covary

            class Named(Distinct):
                class Params(covary.Params):
                    name: str = ""
                    kind: str = ""
                    self: str = ""
            """
        (site / "named.py").write_text(dedent(source))
        write_plugin(site, "acme", offer(target="named:Named"))
        spec = covary.Spec(use="groups", name="a", kind="b", self="c")
        assert spec.create("clusterer").params.model_dump() == {
            "name": "a", "kind": "b", "self": "c"
        }  # fmt: skip


CHECKPOINT = """
[[checkpoint]]
name = "{name}"
summary = "{summary}"
file = '{file}'
url = "https://example.org/files/{name}.safetensors"
weights_license = "CC0-1.0"
"""

PRESET = """
[[preset]]
name = "{name}"
summary = "{summary}"
cite = "Table 1"
[preset.recipe]
source = "worlds"
features = "rgb"
clusterer = {{ use = "lloyd", k = {k} }}
foreground = "corner"
"""


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write the user's own catalogue."""

    def write(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        monkeypatch.setenv("COVARY_REGISTRY", str(path))
        registry.cache_clear()
        return path

    return write


class TestCatalogues:
    def test_the_user_comes_before_plugins_and_plugins_before_builtins(
        self, site: Path, user_file: Callable[[str], Path], tmp_path: Path
    ) -> None:
        def entries(summary: str, k: int, names: tuple[str, ...]) -> str:
            file = tmp_path / f"{summary}.safetensors"
            file.touch()
            return "".join(
                CHECKPOINT.format(name=name, summary=summary, file=file)
                + PRESET.format(name=name, summary=summary, k=k)
                for name in names
            )

        (site / "acme.toml").write_text(entries("plugin", 7, ("avatars-64", "avatars", "shared")))
        source = f"""
            import covary

            @covary.hookimpl
            def covary_components():
                return covary.read_catalogue({str(site / "acme.toml")!r}).entries()
            """
        write_plugin(site, "acme", source)
        user_file(entries("user", 9, ("shared", "mine")))
        found = registry()
        assert found.problems == []
        expected = {"shared": "user", "mine": "user", "avatars": "plugin", "avatars-64": "plugin"}
        for name, summary in expected.items():
            assert found.preset(name).summary == summary
            assert found.checkpoint(name).summary == summary
            assert covary.checkpoint_path(name) == tmp_path / f"{summary}.safetensors"
        shadowed = {
            (shelved.entry.name, shelved.origin.namespace)
            for shelved in (*found.presets, *found.checkpoints)
            if shelved.shadowed
        }
        assert shadowed == {
            ("shared", "acme"), ("avatars", "covary"), ("avatars-64", "covary")
        }  # fmt: skip
        assert covary.Pipeline.preset("shared").clusterer.params.k == 9
        names = covary.preset_names()
        assert len(names) == len(set(names))
        assert {"shared", "mine", "avatars", "ffhq"} <= set(names)

    def test_a_user_may_not_add_components(self, user_file: Callable[[str], Path]) -> None:
        path = user_file(
            '[[component]]\nkind = "clusterer"\nname = "mine"\ntarget = "os:abort"\n'
            + PRESET.format(name="ours", summary="", k=2)
        )
        assert "user/mine" not in {entry.id for entry in covary.components()}
        assert "ours" in covary.preset_names()
        problem = problem_of("user")
        assert str(path) in problem.distribution
        assert "may not add components" in problem.what

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[[preset", "valid TOML"),
            ("[[preset]]\nname = 'x'\n", "preset.0"),
            ("[[presets]]\nname = 'x'\n", "presets"),
            ("[[checkpoint]]\nname = 'x'\nsha256 = 'abc'\n", "checkpoint.0.sha256"),
            ("[[checkpoint]]\nname = 'x'\ntarget = 'os:abort'\n", "checkpoint.0.target"),
            ("\x00", "valid TOML"),
        ],
    )
    def test_a_broken_user_file_is_a_problem(
        self, user_file: Callable[[str], Path], text: str, message: str
    ) -> None:
        path = user_file(text)
        assert "avatars" in covary.preset_names()
        problem = problem_of("user")
        assert message in problem.what
        assert str(path) in problem.distribution

    def test_a_user_file_that_is_not_there(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("COVARY_REGISTRY", str(tmp_path / "nowhere.toml"))
        assert "no such file" in problem_of("user").what
        monkeypatch.setenv("COVARY_REGISTRY", str(tmp_path))
        assert "a TOML file" in problem_of("user").what
        monkeypatch.setenv("COVARY_REGISTRY", "")
        registry.cache_clear()
        assert covary.problems() == ()

    def test_the_default_user_file_is_in_the_config_folder(self, tmp_path: Path) -> None:
        path = user_registry()
        assert path == tmp_path / "no-config" / "registry.toml"
        path.parent.mkdir()
        path.write_text(PRESET.format(name="from-config", summary="", k=2))
        registry.cache_clear()
        assert "from-config" in covary.preset_names()

    def test_unknown_presets_suggest(self) -> None:
        with pytest.raises(UnknownNameError, match="no preset 'avatar'; did you mean 'avatars'"):
            covary.Pipeline.preset("avatar")

    def test_reading_one_says_what_is_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(covary.InputError, match="a TOML file"):
            covary.read_catalogue(tmp_path / "no.toml")


class TestCheckpointPath:
    def test_a_file_is_taken_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "avatars-64"
        path.touch()
        assert covary.checkpoint_path(path) == path
        assert covary.checkpoint_path(str(path)) == path

    def test_the_bundled_one_is_in_the_package(self) -> None:
        path = covary.checkpoint_path("avatars-64")
        assert path.name == "avatars-64.safetensors"

    @pytest.mark.parametrize("name", ["weights.pkl", "some/where", "x.safetensors"])
    def test_a_missing_file(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(CheckpointError, match=r"an existing file, got no such file; check"):
            covary.checkpoint_path(tmp_path / name)
        with pytest.raises(CheckpointError, match="no such file"):
            covary.checkpoint_path(name)

    def test_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("weights").mkdir()
        for folder in (tmp_path, "weights"):
            with pytest.raises(CheckpointError, match="an existing file, got a folder"):
                covary.checkpoint_path(folder)

    def test_one_that_is_known_but_not_here_names_licence_and_address(self) -> None:
        with pytest.raises(CheckpointError) as caught:
            covary.checkpoint_path("stylegan2-ffhq")
        entry = registry().checkpoint("stylegan2-ffhq")
        assert entry.url in str(caught.value)
        assert entry.weights_license in str(caught.value)
        assert "nothing is downloaded unasked" in str(caught.value)

    def test_one_that_nobody_publishes(self) -> None:
        with pytest.raises(CheckpointError, match=r"licence \(not stated\), find or train one"):
            covary.checkpoint_path("stylegan2-deeprooms")

    def test_one_in_the_cache_is_found(self, tmp_path: Path) -> None:
        url = registry().checkpoint("stylegan2-ffhq").url
        path = tmp_path / "cache" / "checkpoints" / url.rsplit("/", 1)[1]
        path.parent.mkdir(parents=True)
        path.touch()
        assert covary.checkpoint_path("stylegan2-ffhq") == path

    def test_an_unknown_name_suggests(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'stylegan2-ffhq'"):
            covary.checkpoint_path("stylegan2-fhq")

    def test_a_name_with_a_dot_is_still_a_name(self, user_file: Callable[[str], Path]) -> None:
        user_file(CHECKPOINT.format(name="faces-1.5", summary="", file="no_such_package:x"))
        with pytest.raises(CheckpointError, match="importable package 'no_such_package'"):
            covary.checkpoint_path("faces-1.5")

    def test_a_users_own_file_is_found(
        self, user_file: Callable[[str], Path], tmp_path: Path
    ) -> None:
        weights = tmp_path / "mine.safetensors"
        user_file(CHECKPOINT.format(name="mine", summary="", file=weights))
        with pytest.raises(CheckpointError, match=r"expected .*mine\.safetensors, got no such"):
            covary.checkpoint_path("mine")
        weights.touch()
        assert covary.checkpoint_path("mine") == weights
