import com.google.protobuf.Duration;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import faceid.v1.CreateVerificationRequest;
import faceid.v1.CreateVerificationResponse;
import faceid.v1.DownloadEvidenceRequest;
import faceid.v1.Evidence;
import faceid.v1.GetResultRequest;
import faceid.v1.GetResultResponse;
import faceid.v1.HandleCallbackRequest;
import faceid.v1.Subject;
import faceid.v1.VerificationServiceGrpc;
import faceid.v1.VerificationServiceGrpc.VerificationServiceBlockingStub;
import faceid.v1.VerificationState;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** A verification as a caller sees it: create it, take the browser back, wait for the verdict, keep the evidence. */
public final class Verify {
  private static final String GATEWAY = env("FACEID_GATEWAY", "127.0.0.1:50051");
  /** On the flow's redirect_allow. */
  private static final URI PAGE = URI.create(env("CALLBACK_PAGE", "http://127.0.0.1:3000/verified"));
  private static final Map<String, String> EXTENSIONS =
      Map.of("image/jpeg", ".jpg", "image/png", ".png", "video/mp4", ".mp4");

  private final VerificationServiceBlockingStub gateway;

  private Verify(VerificationServiceBlockingStub gateway) {
    this.gateway = gateway;
  }

  public static void main(String[] args) throws Exception {
    // In production: TLS from the mesh, and withCallCredentials for "authorization: Bearer …".
    ManagedChannel channel = ManagedChannelBuilder.forTarget(GATEWAY).usePlaintext().build();
    Verify caller = new Verify(VerificationServiceGrpc.newBlockingStub(channel));
    HttpServer server = HttpServer.create(new InetSocketAddress(PAGE.getHost(), PAGE.getPort()), 0);
    server.createContext("/", caller::callbackPage);
    server.start();
    try {
      caller.run();
    } finally {
      server.stop(1);
      channel.shutdownNow();
    }
  }

  private void run() throws Exception {
    CreateVerificationResponse created = create();
    System.out.println("send the browser to " + created.getUrl());
    String id = created.getVerification().getVerificationId();
    GetResultResponse told = await(id);
    System.out.println("state: " + told.getVerification().getState());
    while (told.getEvidencePending()) { // it is fetched from the vendor after the verdict
      Thread.sleep(200);
      told = within(10).getResult(GetResultRequest.newBuilder().setVerificationId(id).build());
    }
    for (Evidence evidence : told.getEvidenceList()) {
      if (!evidence.getEvidenceId().isEmpty()) {
        download(id, evidence);
      }
    }
  }

  // README: create and wait
  private CreateVerificationResponse create() {
    return within(10).createVerification(CreateVerificationRequest.newBuilder()
        .setRequestId(UUID.randomUUID().toString()) // the same on a retry
        .setFlow("onboarding")
        .setSubject(Subject.newBuilder().setName("张三").setIdNumber("11010519491231002X"))
        .setReturnUrl(PAGE.toString()) // the browser comes back to the caller's own page
        .build());
  }

  /** The answer with a final state. A person who fails may try again for two hours: until then it is PENDING. */
  private GetResultResponse await(String id) {
    GetResultRequest request = GetResultRequest.newBuilder()
        .setVerificationId(id)
        .setWait(Duration.newBuilder().setSeconds(50))
        .build();
    while (true) {
      GetResultResponse told = within(60).getResult(request);
      if (told.getVerification().getState() != VerificationState.VERIFICATION_STATE_PENDING) {
        return told;
      }
    }
  }

  private VerificationServiceBlockingStub within(long seconds) {
    return gateway.withDeadlineAfter(seconds, TimeUnit.SECONDS);
  }
  // README: end

  /** The page to which the vendor sends the browser. The redirect is a hint: HandleCallback asks the vendor. */
  private void callbackPage(HttpExchange browser) throws IOException {
    int status = 200;
    String text;
    try {
      String url = browser.getRequestURI().toString();
      text = within(10).handleCallback(HandleCallbackRequest.newBuilder().setCallbackUrl(url).build())
          .getVerification().getState().name();
      System.out.println("the browser came back: " + text);
    } catch (StatusRuntimeException refused) { // not ours, or forged: nothing was changed
      status = 400;
      text = refused.getStatus().getCode().name();
    }
    browser.sendResponseHeaders(status, text.length());
    browser.getResponseBody().write(text.getBytes());
    browser.close();
  }

  private void download(String id, Evidence evidence) throws IOException {
    String kind = evidence.getKind().name().replace("EVIDENCE_KIND_", "").toLowerCase();
    Path file = Path.of(kind + "-" + evidence.getPosition() + EXTENSIONS.getOrDefault(evidence.getContentType(), ""));
    DownloadEvidenceRequest request =
        DownloadEvidenceRequest.newBuilder().setVerificationId(id).setEvidenceId(evidence.getEvidenceId()).build();
    try (var kept = Files.newOutputStream(file)) {
      var parts = within(60).downloadEvidence(request);
      while (parts.hasNext()) { // what it is, then its bytes
        parts.next().getChunk().writeTo(kept);
      }
    }
    System.out.printf("kept %s, %d of %d bytes%n", file, Files.size(file), evidence.getSizeBytes());
  }

  private static String env(String name, String otherwise) {
    return System.getenv().getOrDefault(name, otherwise);
  }
}
