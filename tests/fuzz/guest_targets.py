"""What the guest's agent, its RDP server and a QEMU that was taken over answer: bounded, late or never believed."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress

from qemu.qmp import QMPClient, QMPError
from sevenlbd.inside.vm import agent as guest_agent
from sevenlbd.inside.vm import qmp_link

from .target import Parse, Target, check_shown

_SECONDS = 0.02
_GREETING = (
    b'{"QMP":{"version":{"qemu":{"micro":0,"minor":0,"major":10},"package":""},"capabilities":[]}}\n{"return":{}}\n'
)


def _agent() -> Parse:
    """Its answers to a program that is run, each line as the guest likes."""
    loop = asyncio.new_event_loop()

    async def talk(data: bytes) -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            theirs.send(data)
        theirs.shutdown(socket.SHUT_WR)
        agent = guest_agent.Agent(ours)
        agent._in_step = True
        try:
            ended = await agent.execute(["x"], b"", _SECONDS)
            assert isinstance(ended.code, int)
            check_shown(guest_agent._last_line(ended.err))
        except guest_agent.AgentError as error:
            check_shown(str(error))
        except OSError:
            pass
        finally:
            await agent.close()
            theirs.close()

    return lambda data: loop.run_until_complete(talk(data))


def _qmp() -> Parse:
    """Its greeting, answers and events, to a client that asks one thing."""
    loop = asyncio.new_event_loop()
    logging.getLogger("qemu.qmp.protocol.fuzz").disabled = True  # the library tells of each

    async def talk(data: bytes) -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            theirs.send(data)
        theirs.shutdown(socket.SHUT_WR)
        client = QMPClient("fuzz")
        with suppress(qmp_link.NoAnswer, QMPError, OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await qmp_link.connect(client, ours)
                await client.execute("query-status")
        await qmp_link.hang_up(client)
        theirs.close()
        ours.close()

    return lambda data: loop.run_until_complete(talk(data))


def _agent_seeds() -> tuple[bytes, ...]:
    return (
        b'{"return":{"pid":7}}\n{"return":{"exited":true,"exitcode":0,"out-data":"YQ==","err-data":"YQ=="}}\n',
        b'{"error":{"class":"GenericError","desc":"no"}}\n',
        b'{"return":{"pid":7}}\n{"return":{"exited":false}}\n{"return":{"exited":true,"signal":9}}\n',
    )


def _qmp_seeds() -> tuple[bytes, ...]:
    status = b'{"return":{"status":"running","running":true},"id":"__qmp#00001"}\n'
    event = b'{"event":"SHUTDOWN","data":{"reason":"guest-shutdown"},"timestamp":{"seconds":1,"microseconds":1}}\n'
    return _GREETING + event + status, _GREETING + status, b'{"QMP":{}}\n'


TARGETS = (
    Target("guest-agent", _agent, ("sevenlbd.inside.vm.agent", "json"), _agent_seeds),
    Target("qmp", _qmp, ("qemu.qmp", "json"), _qmp_seeds),
)
