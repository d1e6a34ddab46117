"""hmrfit completion bash | zsh: the shell's completion of this command line, made from the parser by shtab.

eval "$(hmrfit completion bash)"                      in ~/.bashrc
hmrfit completion zsh > FOLDER/_hmrfit                FOLDER one of $fpath
"""

from argparse import ArgumentParser

SHELLS = ("bash", "zsh")
INSTALL = "Completion is made by shtab, which is not installed: pip install 'hmrfit[completion]'."


def completion_command(shell: str, parser: ArgumentParser) -> int:
    """Prints the script. Raises ImportError: shtab is not installed."""
    try:
        import shtab
    except ImportError as error:
        raise ImportError(INSTALL) from error
    print(shtab.complete(parser, shell=shell))
    return 0
