// A verification as a caller sees it: create it, take the browser back, wait for the verdict, keep the evidence.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	faceid "example.com/shop/faceid/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// README: create and wait
func create(ctx context.Context, gateway faceid.VerificationServiceClient, requestID, page string) (*faceid.CreateVerificationResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return gateway.CreateVerification(ctx, &faceid.CreateVerificationRequest{
		RequestId: requestID, // the same on a retry
		Flow:      "onboarding",
		Subject:   &faceid.Subject{Name: "张三", IdNumber: "11010519491231002X"},
		ReturnUrl: page, // the browser comes back to the caller's own page
	})
}

// wait answers with a final state. A person who fails may try again for two hours: until then it is PENDING.
func wait(ctx context.Context, gateway faceid.VerificationServiceClient, id string) (*faceid.GetResultResponse, error) {
	for {
		told, err := ask(ctx, gateway, id, 50*time.Second)
		if err != nil || told.Verification.State != faceid.VerificationState_VERIFICATION_STATE_PENDING {
			return told, err
		}
	}
}

func ask(ctx context.Context, gateway faceid.VerificationServiceClient, id string, wait time.Duration) (*faceid.GetResultResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+10*time.Second)
	defer cancel()
	return gateway.GetResult(ctx, &faceid.GetResultRequest{
		Key:  &faceid.GetResultRequest_VerificationId{VerificationId: id},
		Wait: durationpb.New(wait),
	})
}

// README: end

// callbackPage is where the vendor sends the browser. The redirect is a hint: HandleCallback asks the vendor.
func callbackPage(gateway faceid.VerificationServiceClient) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		told, err := gateway.HandleCallback(ctx, &faceid.HandleCallbackRequest{
			Source: &faceid.HandleCallbackRequest_CallbackUrl{CallbackUrl: r.URL.RequestURI()},
		})
		if err != nil { // not ours, or forged: nothing was changed
			http.Error(w, status.Code(err).String(), http.StatusBadRequest)
			return
		}
		fmt.Println("the browser came back:", told.Verification.State)
		fmt.Fprint(w, told.Verification.State)
	}
}

func download(ctx context.Context, gateway faceid.VerificationServiceClient, id string, evidence *faceid.Evidence) error {
	kind := strings.ToLower(strings.TrimPrefix(evidence.Kind.String(), "EVIDENCE_KIND_"))
	file := fmt.Sprintf("%s-%d", kind, evidence.Position)
	if known, _ := mime.ExtensionsByType(evidence.ContentType); len(known) > 0 {
		file += known[len(known)-1]
	}
	kept, err := os.Create(file)
	if err != nil {
		return err
	}
	defer kept.Close()
	parts, err := gateway.DownloadEvidence(ctx, &faceid.DownloadEvidenceRequest{VerificationId: id, EvidenceId: evidence.EvidenceId})
	if err != nil {
		return err
	}
	var size int
	for {
		part, err := parts.Recv() // what it is, then its bytes
		if err == io.EOF {
			fmt.Printf("kept %s, %d of %d bytes\n", file, size, evidence.SizeBytes)
			return kept.Close()
		}
		if err != nil {
			return err
		}
		n, err := kept.Write(part.GetChunk())
		if err != nil {
			return err
		}
		size += n
	}
}

func run(ctx context.Context) error {
	// In production: TLS from the mesh, and the caller's token as "authorization: Bearer …" metadata.
	// grpc-go 1.63 and later say grpc.NewClient and insecure.NewCredentials() instead, and still take this.
	conn, err := grpc.Dial(env("FACEID_GATEWAY", "127.0.0.1:50051"), grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer conn.Close()
	gateway := faceid.NewVerificationServiceClient(conn)
	page, err := url.Parse(env("CALLBACK_PAGE", "http://127.0.0.1:3000/verified")) // on the flow's redirect_allow
	if err != nil {
		return err
	}
	go func() { log.Fatal(http.ListenAndServe(page.Host, callbackPage(gateway))) }()

	created, err := create(ctx, gateway, newID(), page.String())
	if err != nil {
		return err // status.Convert(err).Details() has the bad fields, the reason, when to retry
	}
	fmt.Println("send the browser to", created.Url)
	id := created.Verification.VerificationId
	told, err := wait(ctx, gateway, id)
	if err != nil {
		return err
	}
	fmt.Println("state:", told.Verification.State)
	for told.EvidencePending { // it is fetched from the vendor after the verdict
		time.Sleep(200 * time.Millisecond)
		if told, err = ask(ctx, gateway, id, 0); err != nil {
			return err
		}
	}
	for _, evidence := range told.Evidence {
		if evidence.EvidenceId == "" {
			continue
		}
		if err := download(ctx, gateway, id, evidence); err != nil {
			return err
		}
	}
	return nil
}

func newID() string {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x", id)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
