// Checks entries as COSE_Sign1 with @auth0/cose. Standard input is a JSON array of {entry, x, payload} in base64;
// standard output is one line for each: "ok", or what is wrong.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { webcrypto } from "node:crypto";

const require = createRequire(`${process.argv[2]}/package.json`);
const { Sign1 } = require("@auth0/cose");

for (const claim of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    const jwk = { kty: "OKP", crv: "Ed25519", x: claim.x };
    const key = await webcrypto.subtle.importKey("jwk", jwk, { name: "Ed25519" }, true, ["verify"]);
    const sign1 = Sign1.decode(Buffer.from(claim.entry, "base64"));
    await sign1.verify(key);
    const same = Buffer.from(sign1.payload).toString("base64") === claim.payload;
    console.log(same ? "ok" : "another payload");
  } catch (error) {
    console.log(`${error.name}: ${error.message}`.replaceAll("\n", " "));
  }
}
