"""python -m ssfr.pipelines.cli"""

from ssfr.pipelines.cli.app import main

if __name__ == "__main__":
    main()
