// Blocks of a chain of proof of authority, sealed by @ethereumjs/block. stdin: { chain, blocks: [{ key, root }] }, each
// block's key as hex and the root of its transactions; stdout: [{ raw, hash, signer }].
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const need = createRequire(process.argv[2] + "/");
const load = (name) => import(pathToFileURL(need.resolve(name)).href);
const { cliqueSigner, createSealedCliqueBlockHeader } = await load("@ethereumjs/block");
const { Common, Mainnet } = await load("@ethereumjs/common");
const { bytesToHex, hexToBytes } = await load("@ethereumjs/util");

const asked = JSON.parse(readFileSync(0, "utf8"));
const consensus = { type: "poa", algorithm: "clique", clique: { period: 10, epoch: 30000 } };
const hardforks = ["chainstart", "istanbul"].map((name) => ({ name, block: 0 }));
const chain = { ...Mainnet, name: "poa", chainId: asked.chain, consensus, hardforks };
const common = new Common({ chain, hardfork: "istanbul" });
let parentHash = new Uint8Array(32).fill(7);
const made = asked.blocks.map(({ key, root }, at) => {
  const fields = { number: 1000 + at, timestamp: 1795000000 + 10 * at, difficulty: 1 + (at % 2), gasLimit: 8000000 };
  const extraData = new Uint8Array(97).fill(at, 0, 32);
  const data = { ...fields, parentHash, extraData, transactionsTrie: hexToBytes(root) };
  const header = createSealedCliqueBlockHeader(data, hexToBytes("0x" + key), { common, freeze: false });
  parentHash = header.hash();
  return { raw: bytesToHex(header.serialize()), hash: bytesToHex(parentHash), signer: cliqueSigner(header).toString() };
});
process.stdout.write(JSON.stringify(made));
