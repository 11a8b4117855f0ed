#!/bin/sh
# Installs the ebpfcheck that this action came with and runs it as the inputs (INPUT_*) say: annotations to the log, the
# page in Markdown to the job's summary, other formats to files, the exit code to the step's outputs.
set -eu

case $INPUT_COMMAND in
    node | cluster | evaluate | verify) ;;
    *)
        # Not shown as it came, since the runner reads what is printed.
        echo "::error title=ebpfcheck::input command: give node, cluster, evaluate or verify"
        exit 2
        ;;
esac

venv=$RUNNER_TEMP/ebpfcheck
if [ ! -x "$venv/bin/ebpfcheck" ]; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$GITHUB_ACTION_PATH/../../.."
fi

set -- "$INPUT_COMMAND" --format github
[ -z "$INPUT_FAIL_ON" ] || set -- "$@" --fail-on "$INPUT_FAIL_ON"
[ -z "$INPUT_CALICO_VERSION" ] || set -- "$@" --calico-version "$INPUT_CALICO_VERSION"
[ -z "$INPUT_SARIF" ] || set -- "$@" --format "sarif=$INPUT_SARIF"
[ -z "$INPUT_JUNIT" ] || set -- "$@" --format "junit=$INPUT_JUNIT"
[ -z "$INPUT_JSON" ] || set -- "$@" --format "json=$INPUT_JSON"
[ -z "$INPUT_HTML" ] || set -- "$@" --format "html=$INPUT_HTML"
while IFS= read -r argument; do
    [ -z "$argument" ] || set -- "$@" "$argument"
done <<END
$INPUT_ARGUMENTS
END
# Last, and never taken for an option.
[ -z "$INPUT_SNAPSHOT" ] || set -- "$@" -- "$INPUT_SNAPSHOT"

code=0
"$venv/bin/ebpfcheck" "$@" || code=$?
echo "exit-code=$code" >>"$GITHUB_OUTPUT"
exit "$code"
