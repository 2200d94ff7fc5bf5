// Follows what happens to all verifications, without a gap, also when this program or the gateway starts anew.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	faceid "example.com/shop/faceid/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	resumeToken = "resume_token"
	pause       = time.Second
)

func act(event *faceid.VerificationEvent) {
	kind := strings.TrimPrefix(event.Kind.String(), "VERIFICATION_EVENT_KIND_")
	state := strings.TrimPrefix(event.State.String(), "VERIFICATION_STATE_")
	fmt.Println(event.Sequence, kind, event.VerificationId, state)
}

// keep writes all of it or nothing, wherever the power fails.
func keep(token string) error {
	if err := os.WriteFile(resumeToken+".new", []byte(token), 0o600); err != nil {
		return err
	}
	return os.Rename(resumeToken+".new", resumeToken)
}

func watch(ctx context.Context, gateway faceid.VerificationServiceClient) error {
	token, err := os.ReadFile(resumeToken) // none: from now on
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	messages, err := gateway.WatchVerifications(ctx, &faceid.WatchVerificationsRequest{ResumeToken: string(token)})
	if err != nil {
		return err
	}
	for {
		message, err := messages.Recv()
		if err != nil {
			return err
		}
		if message.Event != nil {
			act(message.Event)
		}
		// After it was acted upon: what a crash came between comes again.
		if err := keep(message.ResumeToken); err != nil {
			return err
		}
	}
}

func main() {
	gateway := os.Getenv("FACEID_GATEWAY")
	if gateway == "" {
		gateway = "127.0.0.1:50051"
	}
	conn, err := grpc.Dial(gateway, grpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := faceid.NewVerificationServiceClient(conn)
	for {
		// It ends with OK after an hour: go on with the token. EVENTS_MISSING: list what changed, and begin without a token.
		if err := watch(context.Background(), client); err != io.EOF && status.Code(err) != codes.Unavailable {
			log.Fatal(err)
		}
		time.Sleep(pause)
	}
}
