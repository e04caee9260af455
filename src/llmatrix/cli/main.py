"""The ``llmatrix`` command: verbs are imported when they are called, so that help is quick."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import click

from llmatrix import __version__
from llmatrix.cli.printable import printable
from llmatrix.errors import LlmatrixError

VERBS: Final = {
    "init": "Write a commented experiment file to start from.",
    "plan": "Show treatments, deployments, order and cost; start nothing.",
    "diff": "Show what a level really changes in manifests and workload.",
    "run": "Run what is missing of an experiment, and say where its report is.",
    "tekton": "Write an experiment as files for kubectl and Git.",
    "submit": "Submit what is missing to a cluster, and leave it to run there.",
    "doctor": "Tell whether a cluster can run an experiment, and what to mend.",
    "status": "Tell how far an experiment is, and what stands.",
    "logs": "Show what the steps of an experiment's trials said on a cluster.",
    "cancel": "End an experiment on a cluster, and see that nothing of it stands.",
    "report": "Show the answer as tables and as one self-contained page.",
    "view": "Serve that page on this machine, refreshed as records arrive.",
    "compare": "Hold one experiment, or one level of a factor, against another; for CI.",
    "query": "Ask an experiment's tables in SQL.",
    "export": "Write an experiment's table of trials or requests as one file.",
    "push": "Copy an experiment from a folder into another store.",
    "pull": "Copy an experiment from a store into a folder.",
    "ls": "List the experiments that a store holds.",
    "rm": "Remove an experiment from a store.",
    "gc": "Remove what interrupted or kept runs left standing.",
    "schema": "Print the JSON Schema of the experiment file, for editors.",
    "sim": "Run the simulated model servers and router by themselves.",
}


INTERNAL: Final = ("step", "lane", "model")
"""Verbs that the Tasks and Jobs on a cluster run, not people; help does not list them."""


class _Verbs(click.Group):
    """A group whose commands live in modules of their names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in VERBS and cmd_name not in INTERNAL:
            return None
        command: click.Command = importlib.import_module(f"llmatrix.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; for one that is not there, name the nearest."""
        if args and args[0] not in (*VERBS, *INTERNAL) and not args[0].startswith("-"):
            import difflib  # noqa: PLC0415 - only on a typing mistake

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else " `llmatrix --help` lists them."
            ctx.fail(f"there is no verb '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; that nobody reads its output to the end is no error."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered goes nowhere, so that the interpreter's end does not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="llmatrix")
def llmatrix() -> None:
    """Plan, run and judge LLM-serving experiments.

    One file names the stack, the traffic and a matrix of factors over either; `llmatrix init`
    writes one to start from, `llmatrix run FILE` measures it.
    """


def main() -> None:
    """Run the command line and end with the exit code that the error tree defines."""
    sys.exit(_run())


def _run() -> int:
    try:
        result: Any = llmatrix.main(prog_name="llmatrix", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except LlmatrixError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {printable(line)}", err=True)
        return error.exit_code
    return result if isinstance(result, int) else 0
