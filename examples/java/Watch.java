import faceid.v1.VerificationEvent;
import faceid.v1.VerificationServiceGrpc;
import faceid.v1.VerificationServiceGrpc.VerificationServiceBlockingStub;
import faceid.v1.WatchVerificationsRequest;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Follows what happens to all verifications, without a gap, also when this program or the gateway starts anew. */
public final class Watch {
  private static final Path RESUME_TOKEN = Path.of("resume_token");
  private static final long PAUSE_MS = 1000;

  public static void main(String[] args) throws Exception {
    String address = System.getenv().getOrDefault("FACEID_GATEWAY", "127.0.0.1:50051");
    var gateway = VerificationServiceGrpc.newBlockingStub(ManagedChannelBuilder.forTarget(address).usePlaintext().build());
    while (true) {
      try {
        watch(gateway); // it ends with OK after an hour: go on with the token
      } catch (StatusRuntimeException error) {
        if (error.getStatus().getCode() != Status.Code.UNAVAILABLE) {
          throw error; // EVENTS_MISSING: list what changed, and begin with an empty token
        }
      }
      Thread.sleep(PAUSE_MS);
    }
  }

  private static void watch(VerificationServiceBlockingStub gateway) throws IOException {
    String token = Files.exists(RESUME_TOKEN) ? Files.readString(RESUME_TOKEN) : ""; // empty: from now on
    var messages = gateway.watchVerifications(WatchVerificationsRequest.newBuilder().setResumeToken(token).build());
    while (messages.hasNext()) {
      var message = messages.next();
      if (message.hasEvent()) {
        act(message.getEvent());
      }
      keep(message.getResumeToken()); // after it was acted upon: what a crash came between comes again
    }
  }

  private static void act(VerificationEvent event) {
    String kind = event.getKind().name().replace("VERIFICATION_EVENT_KIND_", "");
    String state = event.getState().name().replace("VERIFICATION_STATE_", "");
    System.out.println(event.getSequence() + " " + kind + " " + event.getVerificationId() + " " + state);
  }

  /** All of it or nothing, wherever the power fails. */
  private static void keep(String token) throws IOException {
    Path written = Files.writeString(Path.of(RESUME_TOKEN + ".new"), token);
    Files.move(written, RESUME_TOKEN, StandardCopyOption.ATOMIC_MOVE);
  }
}
