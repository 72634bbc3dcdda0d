"""The options of all commands: behind a launcher, and given twice."""

import pytest
from torch.distributed.run import get_args_parser
from typer.main import get_command

from diffode.cli.app import app
from tests.runs import refused

COMMANDS = get_command(app).commands
OPTIONS = [
    (command, option)
    for command, made in COMMANDS.items()
    for option in made.params
    if option.param_type_name == "option"
]


def survives(name):
    """Whether torchrun passes an option on; it takes a name for one of its own by its start."""
    try:
        given = get_args_parser().parse_args(["-m", "diffode", "command", name, "1"])
    except SystemExit:
        return False
    return given.training_script_args == ["command", name, "1"]


def test_every_option_has_a_name_that_survives_torchrun(capsys):
    assert not survives("--n") and survives("--samples")
    lost = [
        f"{command} {'/'.join(option.opts)}"
        for command, option in OPTIONS
        if not any(survives(name) for name in option.opts if name.startswith("--"))
    ]
    assert lost == []


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_of_one_value_is_given_once(command, capsys):
    """Whatever the option: the first value would be dropped without a word."""
    arguments = ["x"] * sum(p.param_type_name == "argument" for p in COMMANDS[command].params)
    for option in (o for c, o in OPTIONS if c == command and not (o.multiple or o.is_flag)):
        for second in option.opts:
            more = ["1"] * (option.nargs - 1)
            given = [command, *arguments, option.opts[0], "1", *more, f"{second}=1", *more]
            assert f"{'/'.join(option.opts)} twice; give it once" in refused(capsys, *given)


@pytest.mark.parametrize(
    "command",
    [name for name, made in COMMANDS.items() if any(p.name == "target" for p in made.params)],
)
def test_commands_on_a_target_have_the_same_options_behind_their_own(command):
    names = [p.name for p in COMMANDS[command].params]
    last = [name for name in names if name in ("device", "trust", "out")]
    assert names[0] == "target" and last in (["device", "trust"], ["device", "trust", "out"])


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("encode x x --set rtol=1 --set rtol=2", "rtol"),
        ("train --field edm --steps 3 --set steps=4", "steps"),
        ("bench --steps 3 --set steps=3", "steps"),
    ],
)
def test_a_key_of_set_is_given_once(given, what, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, *given.split()) == f"error: got {what} twice; give it once\n"
    assert not list(tmp_path.iterdir())


def test_options_that_take_a_list_may_be_given_again(tmp_path, monkeypatch, capsys):
    given = ["bench", "--field", "edm", "--field", "vp", "--nfe", "5", "--nfe", "10"]
    message = refused(capsys, *given, "--out", tmp_path, "--data", "nowhere")
    assert "no data set named 'nowhere'" in message
