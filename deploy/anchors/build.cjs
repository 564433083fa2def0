// Builds Anchor.sol: `NODE_PATH=.../node_modules node build.cjs` prints Anchor.json. The compiler is npm's solc 0.8.30.
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const source = fs.readFileSync(path.join(__dirname, "Anchor.sol"), "utf8");
const settings = {
  evmVersion: "istanbul",
  optimizer: { enabled: true, runs: 200 },
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};
const input = { language: "Solidity", sources: { "Anchor.sol": { content: source } }, settings };
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const faults = (output.errors || []).filter((error) => error.severity === "error");
if (faults.length) throw new Error(faults.map((error) => error.formattedMessage).join("\n"));
const { abi, evm } = output.contracts["Anchor.sol"].Anchor;
const built = {
  compiler: solc.version(),
  evmVersion: settings.evmVersion,
  optimizerRuns: settings.optimizer.runs,
  abi,
  creation: "0x" + evm.bytecode.object,
  deployed: "0x" + evm.deployedBytecode.object,
};
process.stdout.write(JSON.stringify(built, null, 2) + "\n");
