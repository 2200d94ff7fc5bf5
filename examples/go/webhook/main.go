// Receives a caller's events as Standard Webhooks: verified, each acted upon once.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxBodyBytes = 64 << 10
	tolerance    = 5 * time.Minute
)

type event struct {
	Type string
	Data struct {
		VerificationID string `json:"verification_id"`
		State          string
	}
}

// verify checks a message as https://www.standardwebhooks.com/ says: one of its signatures is ours, and it is of now.
func verify(secret []byte, header http.Header, body []byte, now time.Time) error {
	id, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return errors.New("no timestamp")
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return errors.New("too old, or from the future")
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	// While a secret is replaced there is a signature for each.
	for _, signature := range strings.Fields(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(signature), []byte(expected)) {
			return nil
		}
	}
	return errors.New("not signed with the secret")
}

func receiver(secret []byte) http.HandlerFunc {
	var seen sync.Map // in production: in the database, in the transaction that acts
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		if err == nil {
			err = verify(secret, r.Header, body, time.Now())
		}
		var happened event
		if err == nil {
			err = json.Unmarshal(body, &happened)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if _, again := seen.LoadOrStore(r.Header.Get("webhook-id"), true); !again {
			fmt.Println(happened.Type, happened.Data.VerificationID, happened.Data.State)
		}
		w.WriteHeader(http.StatusNoContent) // anything but 2xx is sent again, for a day
	}
}

func main() {
	// whsec_…, as in webhook_secrets_file
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil || len(secret) < 24 {
		log.Fatal("WEBHOOK_SECRET is not whsec_ and 24 bytes or more in base64")
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "3001"
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, receiver(secret)))
}
