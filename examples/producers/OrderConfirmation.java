import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/**
 * OrderConfirmation [SPOOL]: mail a confirmation in text and HTML from Java.     java OrderConfirmation.java
 *
 * <p>The job is built in SPOOL/tmp and renamed into SPOOL/incoming: it appears there whole or not at all. Prints the
 * job's name. Exit code 73: the job could not be written; nothing was dropped.
 */
public final class OrderConfirmation {
    /** Drops one confirmation; returns the job's name, under which the result comes back. */
    static String drop(Path spool, String order, String to) throws IOException {
        String name = "order-" + order + "-" + System.nanoTime();
        // Not createTempDirectory: that folder can be entered by its owner only, and the daemon is another user.
        Path job = Files.createDirectory(spool.resolve("tmp").resolve(name));
        try {
            Files.writeString(job.resolve("body.txt"), "Your order " + order + " is on its way – thank you!\n");
            Files.writeString(
                    job.resolve("body.html"), "<p>Your order <b>" + order + "</b> is on its way – thank you!</p>\n");
            Files.writeString(job.resolve("envelope.toml"), """
                    from = "Acme Tools, Shop <shop@example.com>"
                    to = ["%s"]
                    subject = "Your order %s is on its way"
                    """.formatted(to, order));
            Files.move(job, spool.resolve("incoming").resolve(name), StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException error) {
            remove(job);
            throw error;
        }
        return name;
    }

    private static void remove(Path job) throws IOException {
        for (String file : new String[] {"body.txt", "body.html", "envelope.toml"}) {
            Files.deleteIfExists(job.resolve(file));
        }
        Files.deleteIfExists(job);
    }

    public static void main(String[] arguments) {
        Path spool = Path.of(arguments.length > 0 ? arguments[0] : "/var/spool/maildropd");
        try {
            System.out.println(drop(spool, "2026-0815", "Zoë Müller <zoe.mueller@example.org>"));
        } catch (IOException error) {
            System.err.println("OrderConfirmation: " + error);
            System.exit(73);
        }
    }
}
