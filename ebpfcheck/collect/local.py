"""The road to the machine that ebpfcheck runs on."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from ebpfcheck.collect.output import SurveyProcess
from ebpfcheck.collect.transport import Survey, Trial, cut_words, open_survey, survey_arguments
from ebpfcheck.errors import CannotRunError
from ebpfcheck.model.facts import Endpoint, SourceKind


class LocalTransport:
    """Runs the survey under this machine's own `sh`."""

    kind = SourceKind.LOCAL

    def __init__(
        self,
        shell: tuple[str, ...] = ("sh",),
        endpoints: Sequence[Endpoint] = (),
        root: str = "/",
        trial: Trial = "none",
    ) -> None:
        self._shell = shell
        self._trial: Trial = trial
        self._endpoints = endpoints
        self._root = root

    def start(self, timeout: float) -> "LocalSurvey":
        """Start survey.sh, to last `timeout` seconds at most; CannotRunError if there is no shell to run it."""
        program = shutil.which(self._shell[0]) or shutil.which(self._shell[0], path=os.defpath)
        if program is None:
            raise CannotRunError(f"this machine has no {self._shell[0]} to run the survey with")
        nonce = os.urandom(16).hex()
        with open_survey(self._trial, timeout) as script:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own script under the system's shell
                    (program, *self._shell[1:], "-s", *survey_arguments(nonce, self._endpoints, self._root)),
                    stdin=script,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                )
            except OSError as error:
                raise CannotRunError(f"{program} could not be started: {error.strerror} ({error.filename})") from error
        return LocalSurvey(process, nonce, timeout, self._trial)


class LocalSurvey(SurveyProcess):
    """The survey running on this machine."""

    def finish(self) -> Survey:
        """Wait for the survey's end or its deadline and return what was printed until then."""
        output = self.output()
        return Survey(
            data=output.stdout,
            nonce=self._nonce,
            cut=output.cut,
            detail=cut_words(output.cut, self._timeout),
            trial=self._trial,
        )
