"""The engines of a run that are on other hosts: data from this host is sent to each host once.

Loaded when a run has engines on other hosts.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, ClassVar

import mpshell.coordinator.claims  # noqa: F401 - here, and not with an event: there may be no descriptor then
from mpshell.coordinator import engine as states
from mpshell.coordinator.engine import HIGH_WATER, EngineState
from mpshell.coordinator.engines import EngineSet
from mpshell.coordinator.hostfiles import HostFiles
from mpshell.coordinator.job import Job
from mpshell.coordinator.notices import NoticeCounts
from mpshell.coordinator.queues import Slice
from mpshell.errors import EngineStartError, InputStorageError
from mpshell.launch.link import Link
from mpshell.wire import files, messages
from mpshell.wire.notices import NOTICE_REASON, OVER_SSH


class FarEngineState(EngineState):
    """An engine that reads input and the sources of copies from files of its host."""

    __slots__ = ("_host_files", "_notices")

    def __init__(self, link: Link, host_files: HostFiles, notices: NoticeCounts) -> None:
        super().__init__(link)
        self._host_files = host_files
        self._notices = notices

    def spec_of(self, job: Job) -> messages.JobSpec:
        if self.link.lacks and job.spec.connect is not None:
            return job.spec._replace(connect=None)
        if job.source is None:
            return job.spec
        before = job.source.placeholder
        after = f"{self.link.stage}/{job.token}/{job.source.name}"

        def found(template: messages.Template) -> messages.Template:
            return tuple(
                part.replace(before, after) if isinstance(part, str) else part for part in template
            )

        spec = job.spec
        connect = spec.connect
        if connect is not None and connect.copy is not None:
            spec = spec._replace(connect=connect._replace(copy=connect.copy._replace(source=after)))
        shell = None if spec.shell is None else found(spec.shell)
        return spec._replace(shell=shell, argv=tuple(found(word) for word in spec.argv))

    def hand_out(self, job: Job, work: Slice) -> None:
        super().hand_out(job, work)
        if self.link.lacks and job.spec.connect is not None:
            text = f"{OVER_SSH}{NOTICE_REASON}{self.link.host}: {self.link.lacks}"
            self._notices.count([(text, work.stop - work.first)])

    def feed(self, job: Job) -> None:
        """Send it the part of a job's files that it stores, and how many bytes of input it can read."""
        if job.inputs is not None:
            # Each client has its own input: nothing is for two engines.
            super().feed(job)
            return
        room = HIGH_WATER - self.link.pending - self.input_queued
        if room > 0:
            self.input_queued += self._host_files.feed(self, job, room)
        self.hungry.discard(job.id)
        if self._host_files.lacks(self, job):
            self.hungry.add(job.id)
        told = self.jobs.get(job.id, -1)
        if job.source is not None or told < 0:
            return
        size, path = self._host_files.readable(self, job)
        if size > told:
            self.outbox.append(files.StoredAt(job.id, size - told, path))
            told = size
        if told == job.input.size and job.input_closed:
            self.outbox.append(messages.CloseStdin(job.id))
            told = -1
        self.jobs[job.id] = told


class FarEngineSet(EngineSet):
    """Engines on other hosts. A job with a source goes to engines of a host that has the whole source.

    `stop` starts no more of some jobs, for a reason; `env` are variables in addition to those on the host.
    """

    def __init__(
        self,
        *args: Any,
        stop: Callable[[list[Job], str], object],
        env: tuple[tuple[str, str], ...] = (),
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self._staff.steady = False
        self._stop = stop
        self._env = env
        self._files = HostFiles()
        self._new_state = functools.partial(
            FarEngineState, host_files=self._files, notices=self.notices
        )

    def _can_run(self, engine_id: int, job_id: int) -> bool:
        there = self._files.is_there(self._engines[engine_id], self._jobs[job_id])
        return there and super()._can_run(engine_id, job_id)

    def submit(self, job: Job) -> None:
        job.token = os.urandom(12).hex() if job.source is None else job.source.token
        if self._env:
            # Those of its transport go before.
            job.spec = job.spec._replace(env=self._env + job.spec.env)
        if job.source is not None:
            self._slot_pools.choose_by(self._can_run, self._affinity.part)
        super().submit(job)

    def forget(self, job: Job) -> None:
        self._files.forget(job, self._engines.values())
        super().forget(job)
        if job.source is not None:
            job.source.close()

    def _turn(self) -> None:
        for job in self._jobs.values():
            if job.source is not None and job.starts_clients and not self._run.stopping:
                self._feed_all(job)
        super()._turn()

    def _cannot_start(self, error: EngineStartError) -> None:
        if self._misfires.ends_run(error):
            super()._cannot_start(error)
        else:
            self._stop(list(self._jobs.values()), str(error))

    def _feed_all(self, job: Job) -> None:
        for engine in self._engines.values():
            if engine.state is states.SERVING and (job.source is not None or job.id in engine.jobs):
                engine.feed(job)

    def _on_kept(self, engine: EngineState, event: files.Kept) -> None:
        if event.text:
            where = engine.link.host
            self._run.note(
                InputStorageError(f"{where} cannot store the data that is sent there: {event.text}")
            )
            return
        job = self._jobs.get(self._files.kept(engine, event))
        if job is not None:
            self._feed_all(job)

    _receivers: ClassVar[dict[type, Callable[[Any, EngineState, Any], object]]] = {
        **EngineSet._receivers,
        files.Kept: _on_kept,
    }

    def _on_gone(self, link: Link) -> None:
        engine = self._engines.get(link.engine_id)
        super()._on_gone(link)
        for job_id in () if engine is None else self._files.gone(engine):
            if (job := self._jobs.get(job_id)) is not None:
                self._feed_all(job)
