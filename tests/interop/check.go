// Checks what Fieldgate writes with Go's own packages for signed notes and transparency logs.
//
// Standard input is a JSON array of claims; standard output is one line for each: "ok", or what is wrong.
package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type claim struct {
	Kind    string
	Note    string   // note, cosignature, checkpoint: a signed note
	Vkey    string   // who signed it
	Skey    string   // sign: the private key's line
	Proof   []string // record, tree: hashes in base64
	Size    int64    // record, tree: the (newer) tree
	Root    string
	Index   int64    // record: the leaf; tree: the older size
	Hash    string   // record: the leaf's hash; tree: the older root
	Entries []string // log: every entry in base64, with Size and Root
	Path    string   // tile: a path, with Level, Index and Width
	Level   int
	Width   int
}

func main() {
	var claims []claim
	if err := json.NewDecoder(os.Stdin).Decode(&claims); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for _, c := range claims {
		if err := c.check(); err != nil {
			fmt.Printf("%s: %v\n", c.Kind, strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("ok")
		}
	}
}

func (c claim) check() error {
	switch c.Kind {
	case "note":
		_, err := c.open(note.NewVerifier)
		return err
	case "cosignature":
		_, err := c.open(newCosignatureVerifier)
		return err
	case "checkpoint":
		return c.checkCheckpoint()
	case "sign":
		return c.checkSigner()
	case "record":
		return c.checkRecord()
	case "tree":
		return c.checkTree()
	case "log":
		return c.checkLog()
	case "tile":
		return c.checkTile()
	}
	return errors.New("an unknown claim")
}

func (c claim) open(parse func(string) (note.Verifier, error)) (*note.Note, error) {
	verifier, err := parse(c.Vkey)
	if err != nil {
		return nil, err
	}
	return note.Open([]byte(c.Note), note.VerifierList(verifier))
}

// A checkpoint is a signed note whose text states Size and Root under the key's name.
func (c claim) checkCheckpoint() error {
	opened, err := c.open(note.NewVerifier)
	if err != nil {
		return err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != opened.Sigs[0].Name || lines[3] != "" {
		return errors.New("not an origin, a size and a root")
	}
	if lines[1] != strconv.FormatInt(c.Size, 10) || lines[2] != c.Root {
		return errors.New("another size or root")
	}
	return nil
}

// The same key over the same text gives the same note.
func (c claim) checkSigner() error {
	signer, err := note.NewSigner(c.Skey)
	if err != nil {
		return err
	}
	opened, err := c.open(note.NewVerifier)
	if err != nil {
		return err
	}
	signed, err := note.Sign(&note.Note{Text: opened.Text}, signer)
	if err != nil {
		return err
	}
	if !bytes.Equal(signed, []byte(c.Note)) {
		return errors.New("another signature")
	}
	return nil
}

func (c claim) checkRecord() error {
	proof, root, hash, err := c.hashes()
	if err != nil {
		return err
	}
	return tlog.CheckRecord(tlog.RecordProof(proof), c.Size, root, c.Index, hash)
}

func (c claim) checkTree() error {
	proof, root, older, err := c.hashes()
	if err != nil {
		return err
	}
	return tlog.CheckTree(tlog.TreeProof(proof), c.Size, root, c.Index, older)
}

func (c claim) hashes() (proof []tlog.Hash, root, hash tlog.Hash, err error) {
	for _, text := range c.Proof {
		one, err := tlog.ParseHash(text)
		if err != nil {
			return nil, root, hash, err
		}
		proof = append(proof, one)
	}
	if root, err = tlog.ParseHash(c.Root); err != nil {
		return nil, root, hash, err
	}
	hash, err = tlog.ParseHash(c.Hash)
	return proof, root, hash, err
}

// A log of these entries has this root.
func (c claim) checkLog() error {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	for n, text := range c.Entries {
		entry, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		hashes, err := tlog.StoredHashes(int64(n), entry, reader)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
	}
	root, err := tlog.TreeHash(int64(len(c.Entries)), reader)
	if err != nil {
		return err
	}
	if root.String() != c.Root {
		return errors.New("another root")
	}
	return nil
}

// Go writes the height of a tile (8) into its path and has "data" for entries; the rest of the path is the same.
func (c claim) checkTile() error {
	rest := strings.TrimPrefix(c.Path, "tile/")
	rest = strings.Replace(rest, "entries/", "data/", 1)
	tile, err := tlog.ParseTilePath("tile/8/" + rest)
	if err != nil {
		return err
	}
	if tile.L != c.Level || tile.N != c.Index || tile.W != c.Width {
		return fmt.Errorf("another tile: %v", tile)
	}
	return nil
}

// cosignatureVerifier checks cosignature/v1: eight bytes of time, then an Ed25519 signature over time and text.
type cosignatureVerifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newCosignatureVerifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, errors.New("not the key of a co-signer")
	}
	return &cosignatureVerifier{parts[0], uint32(hash), key[1:]}, nil
}

func (v *cosignatureVerifier) Name() string    { return v.name }
func (v *cosignatureVerifier) KeyHash() uint32 { return v.hash }

func (v *cosignatureVerifier) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(signature)
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text)
	return ed25519.Verify(v.key, []byte(message), signature[8:])
}
