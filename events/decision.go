package events

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Approvers talk on subjects of their own, by the public nkey of each: a subscriber to events sees neither.
const (
	AskPrefix    = "ask."    // requests: AskPrefix + key
	DecidePrefix = "decide." // decisions: DecidePrefix + key
	AskStream    = "asks"    // the stream of the requests, in which each approver has a consumer
)

// AskConsumer is the name of an approver's consumer.
func AskConsumer(key string) string { return "approver-" + key }

// ApproverInbox is the prefix of the only inbox that an approver may listen on.
func ApproverInbox(key string) string { return "_INBOX_" + key }

// ApprovalRequest asks an approver whether a login is all right.
type ApprovalRequest struct {
	ID      string    `json:"id"`
	Server  string    `json:"server"` // ID of the server that asks
	Name    string    `json:"name"`   // its name
	User    string    `json:"user"`
	Service string    `json:"service"`
	Peer    string    `json:"peer,omitempty"` // address and port of the client
	Prompt  string    `json:"prompt,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// Withdrawn says that nobody waits for an answer to this ID any more; the rest is empty.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// Decision is an approver's answer. The signature is what counts: who may publish it proves nothing.
type Decision struct {
	ID      string    `json:"id"`
	Server  string    `json:"server"`
	Approve bool      `json:"approve"`
	Digest  string    `json:"digest"` // of the request as it was sent: RequestDigest
	Time    time.Time `json:"time"`
	Key     string    `json:"key"`       // the approver's public nkey
	Sig     []byte    `json:"signature"` // Ed25519, of SignedBytes
}

// RequestDigest is the SHA-256 of a request's bytes, in hexadecimal: so that what was approved is what was shown.
func RequestDigest(request []byte) string {
	sum := sha256.Sum256(request)
	return hex.EncodeToString(sum[:])
}

// SignedBytes are what an approver signs. Each part is behind its length, so that no two decisions have the same.
func (d Decision) SignedBytes() []byte {
	answer := "deny"
	if d.Approve {
		answer = "approve"
	}
	var b strings.Builder
	for _, part := range []string{"sallyport decision 1", d.Server, d.ID, answer, d.Digest, strconv.FormatInt(d.Time.UnixMilli(), 10), d.Key} {
		b.WriteString(strconv.Itoa(len(part)) + ":" + part + "\n")
	}
	return []byte(b.String())
}
