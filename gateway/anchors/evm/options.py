"""[anchor.NAME] with `kind = "evm"`."""

from typing import Annotated, Literal

from msgspec import Meta

from gateway.settings import CaFile, Secret, Table, Url

Address = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z", description="an address: 0x and 40 hex digits")]


class EvmOptions(Table, kw_only=True, frozen=True):
    """A chain of the Ethereum kind."""

    url: Annotated[Url, Meta(title="Where a server of the chain answers JSON-RPC. It is not trusted")]
    chain_id: Annotated[
        int,
        Meta(ge=1, le=2**53 - 1, title="Its id, 9090 for BSN's Spartan chain, 5555 for Wuhan; another is refused"),
    ]
    key: Annotated[
        Secret, Meta(title="The private key, 64 hex digits, of an account that nothing else uses; it pays for the gas")
    ]
    api_key: Annotated[Secret | None, Meta(title="What the server wants in the header x-api-key. Absent: nothing")] = (
        None
    )
    ca_file: CaFile = ""
    contract: Annotated[
        Address | None,
        Meta(title="deploy/anchors/Anchor.sol on that chain. Absent: the statement is a transaction's plain data"),
    ] = None
    transaction: Annotated[
        Literal["legacy", "eip1559"],
        Meta(title='"legacy" is understood by every chain; "eip1559" bids with a tip where the chain has base fees'),
    ] = "legacy"
    max_price_gwei: Annotated[
        float, Meta(gt=0, le=1_000_000, title="What a unit of gas may cost, in gwei; above it nothing is sent")
    ] = 100.0
    max_gas: Annotated[int, Meta(ge=21_000, le=10_000_000, title="Units of gas that one anchor may take")] = 200_000
    signers: Annotated[
        tuple[Address, ...],
        Meta(title="Who may seal blocks, where the chain is one of proof of authority (Clique); others are refused"),
    ] = ()
