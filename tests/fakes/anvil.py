"""A real chain of the Ethereum kind on loopback: npm's @foundry-rs/anvil, which mines when a test says so."""

import asyncio
import contextlib
import fcntl
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.anchors.api import Chain, Place
from gateway.anchors.evm import chain as evm
from gateway.anchors.evm.options import EvmOptions
from gateway.core import anchor_evm
from gateway.core.anchor import Statement

ROOT = Path(__file__).parents[2]
CREATION: str = json.loads((ROOT / "deploy" / "anchors" / "Anchor.json").read_text())["creation"]
VERSION = "1.7.1"
CACHE = ROOT / "build" / "npm"
CHAIN_ID = 9090
KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # the first account that anvil fills
ADDRESS = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
PATIENCE_S = 20.0


def installed(package: str, version: str) -> Path:
    """The folder node_modules with an npm package in it, in a cache of the repository. Skips where that cannot be."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = CACHE / f"{package.rpartition('/')[2]}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            (folder / "package.json").write_text("{}")
            install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{package}@{version}"]
            ran = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
            if ran.returncode:
                pytest.skip(f"{package} does not install with npm here")
            (folder / "done").touch()
    return folder / "node_modules"


def program() -> Path:
    """anvil."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    found = installed("@foundry-rs/anvil", VERSION) / f"@foundry-rs/anvil-linux-{machine}" / "bin" / "anvil"
    if not found.exists():
        pytest.skip("@foundry-rs/anvil does not install with npm here")
    return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Anvil:
    """One chain, whose state is in a file. It mines only when it is told to."""

    def __init__(self, folder: Path, *options: str, hardfork: str = "istanbul") -> None:
        self._program, self._folder, self._options = program(), folder, (*options, "--hardfork", hardfork)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._http: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Starts it on its state; returns when it answers."""
        state = ["--state", str(self._folder / "state.json"), "--state-interval", "1"]
        how = ["--port", str(self.port), "--chain-id", str(CHAIN_ID), "--no-mining", "--silent", *state]
        command = [str(self._program), *how, *self._options]
        home = {"PATH": os.environ["PATH"], "HOME": str(self._folder)}
        self._process = await asyncio.to_thread(
            subprocess.Popen, command, env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await self.rpc("eth_chainId")
                    return
                await asyncio.sleep(0.02)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends it. SIGTERM has it write its state."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            await asyncio.to_thread(process.wait)

    async def close(self) -> None:
        await self.stop(signal.SIGKILL)
        if self._http is not None:
            await self._http.close()

    async def rpc(self, method: str, *params: Any) -> Any:
        if self._http is None:
            self._http = aiohttp.ClientSession()
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._http.post(self.url, json=asked) as response:
            answer = await response.json()
        assert "error" not in answer, answer
        return answer["result"]

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc("anvil_mine", hex(blocks))

    async def hash(self, number: int) -> str:
        """Of a block, as a person reads it off."""
        found: str = (await self.rpc("eth_getBlockByNumber", hex(number), False))["hash"]
        return found

    async def reorganise(self, depth: int) -> None:
        """The newest blocks give way to as many empty ones."""
        await self.rpc("anvil_reorg", depth, [])

    async def data(self) -> list[bytes]:
        """Of all transactions in blocks."""
        height = int(await self.rpc("eth_blockNumber"), 16)
        blocks = [await self.rpc("eth_getBlockByNumber", hex(number), True) for number in range(1, height + 1)]
        return [bytes.fromhex(one["input"][2:]) for block in blocks for one in block["transactions"]]

    async def deploy(self, code: str) -> str:
        """The address of a contract that is there when this returns."""
        asked = {"from": ADDRESS, "data": code, "gas": hex(1_000_000), "gasPrice": hex(2_000_000_000)}
        hashed = await self.rpc("eth_sendTransaction", asked)
        await self.mine()
        address: str = (await self.rpc("eth_getTransactionReceipt", hashed))["contractAddress"]
        return address


class AnvilGround:
    """tests/contracts/test_anchors.py: a ground to stand on."""

    kind, check = anchor_evm.KIND, staticmethod(anchor_evm.check)

    def __init__(self, anvil: Anvil, **options: Any) -> None:
        self.anvil = anvil
        self.options = EvmOptions(url=anvil.url, chain_id=CHAIN_ID, key="file:/none", **options)

    def open(self) -> AbstractAsyncContextManager[Chain]:
        return evm.KIND.opened(self.options, {self.options.key: KEY})

    async def mine(self, blocks: int = 1) -> None:
        await self.anvil.mine(blocks)

    async def reorganise(self, depth: int) -> None:
        await self.anvil.reorganise(depth)

    async def stands(self, statement: Statement) -> int:
        mark = statement.root
        return sum(mark in data and statement.log in data for data in await self.anvil.data())

    async def away(self, away: bool) -> None:
        if away:
            await self.anvil.stop()
        else:
            await self.anvil.start()

    def pin(self, place: Place) -> str:
        return f"evm {CHAIN_ID} block {place.number} 0x{place.hash.hex()}"


@asynccontextmanager
async def running(folder: Path, *options: str, hardfork: str = "istanbul") -> AsyncIterator[Anvil]:
    """A chain for a test."""
    anvil = await asyncio.to_thread(Anvil, folder, *options, hardfork=hardfork)
    try:
        await anvil.start()
        yield anvil
    finally:
        await anvil.close()


@asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[AnvilGround]:
    """Plain data in legacy transactions."""
    async with running(folder) as anvil:
        yield AnvilGround(anvil)


@asynccontextmanager
async def ground_with_contract(folder: Path) -> AsyncIterator[AnvilGround]:
    """Calls of the contract, whose event is proved."""
    async with running(folder) as anvil:
        yield AnvilGround(anvil, contract=await anvil.deploy(CREATION))


@asynccontextmanager
async def ground_with_bids(folder: Path) -> AsyncIterator[AnvilGround]:
    """Transactions of type 2, on a chain as it is today."""
    async with running(folder, hardfork="prague") as anvil:
        yield AnvilGround(anvil, transaction="eip1559")
