"""`python -m bench`: what the installed command `bench` does, wherever it is called from."""

import sys  # built in; any other module, __future__ too, may be the current folder's

if __name__ == "__main__":
    if not sys.flags.safe_path and __file__.rpartition("bench")[0][:-1] != sys.path[0]:
        # `python -m` puts the current folder first: what lies there is found last, so that it hides no module of
        # Python's, of ours or of a library's
        sys.path.append(sys.path.pop(0))

    import exitbench

    sys.exit(exitbench.main())
