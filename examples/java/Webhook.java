import com.google.protobuf.Struct;
import com.google.protobuf.util.JsonFormat;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Receives a caller's events as Standard Webhooks: verified, each acted upon once. */
public final class Webhook {
  private static final int MAX_BODY_BYTES = 64 * 1024;
  private static final Duration TOLERANCE = Duration.ofMinutes(5);

  private final SecretKeySpec secret;
  /** In production: in the database, in the transaction that acts. */
  private final Set<String> seen = ConcurrentHashMap.newKeySet();

  private Webhook(SecretKeySpec secret) {
    this.secret = secret;
  }

  public static void main(String[] args) throws IOException {
    // whsec_…, as in webhook_secrets_file
    byte[] secret = Base64.getDecoder().decode(System.getenv("WEBHOOK_SECRET").replaceFirst("^whsec_", ""));
    int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "3001"));
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
    server.createContext("/", new Webhook(new SecretKeySpec(secret, "HmacSHA256"))::receive);
    server.start();
  }

  private void receive(HttpExchange call) throws IOException {
    byte[] body = call.getRequestBody().readNBytes(MAX_BODY_BYTES + 1);
    String id = header(call, "webhook-id");
    int status = 204; // anything but 2xx is sent again, for a day
    if (body.length > MAX_BODY_BYTES || !isOurs(id, call, body)) {
      status = 400;
    } else if (seen.add(id)) {
      act(new String(body, StandardCharsets.UTF_8));
    }
    call.sendResponseHeaders(status, -1);
    call.close();
  }

  /** As https://www.standardwebhooks.com/ says: one of the signatures is ours, and the message is of now. */
  private boolean isOurs(String id, HttpExchange call, byte[] body) {
    try {
      String timestamp = header(call, "webhook-timestamp");
      Duration age = Duration.between(Instant.ofEpochSecond(Long.parseLong(timestamp)), Instant.now());
      Mac mac = Mac.getInstance("HmacSHA256");
      mac.init(secret);
      mac.update((id + "." + timestamp + ".").getBytes());
      byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes();
      boolean signed = false; // while a secret is replaced there is a signature for each
      for (String signature : header(call, "webhook-signature").split(" ")) {
        signed |= MessageDigest.isEqual(signature.getBytes(), expected);
      }
      return signed && age.abs().compareTo(TOLERANCE) <= 0;
    } catch (GeneralSecurityException | RuntimeException malformed) {
      return false;
    }
  }

  private static void act(String body) throws IOException {
    Struct.Builder event = Struct.newBuilder();
    JsonFormat.parser().merge(body, event);
    var data = event.getFieldsOrThrow("data").getStructValue().getFieldsMap();
    System.out.println(event.getFieldsOrThrow("type").getStringValue() + " "
        + data.get("verification_id").getStringValue() + " " + data.get("state").getStringValue());
  }

  private static String header(HttpExchange call, String name) {
    String value = call.getRequestHeaders().getFirst(name);
    return value == null ? "" : value;
  }
}
