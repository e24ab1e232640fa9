import com.sproutsocial.nsq.Client;
import com.sproutsocial.nsq.DirectSubscriber;
import com.sproutsocial.nsq.Message;
import com.sproutsocial.nsq.Publisher;
import com.sproutsocial.nsq.Subscriber;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Scenarios that use nsqd through nsq-j: {@code Scenarios <name> <address>...}. The address is nsqd's for TCP; those of
 * {@code discover} are nsqlookupds' for HTTP.
 *
 * <p>Every delivery is reported as a line {@code <body> <attempts>}; then comes a line {@code done}, and the program
 * waits for a line in return: by then the test has seen in nsqd's statistics that every answer arrived. Exit status 0,
 * or 1 and the reason.
 */
public final class Scenarios {
    private static final String TOPIC = "nsq-j";
    private static final String CHANNEL = "scenarios";
    /** More than any scenario should take. */
    private static final int PATIENCE_S = 60;
    /** The shortest time between two looks for nsqds that the library knows. */
    private static final int LOOKUP_S = 1;

    /** What a scenario does with a message; true after the last one. Called by several threads of the library. */
    private interface Handler {
        boolean handle(Message message) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        List<String> addresses = List.of(arguments).subList(1, arguments.length);
        try {
            switch (arguments[0]) {
                case "consume" -> consume(addresses);
                case "requeue" -> requeue(addresses);
                case "defer" -> defer(addresses);
                case "touch" -> touch(addresses);
                case "time-out" -> timeOut(addresses);
                case "discover" -> discover(addresses);
                default -> throw new IllegalArgumentException("no scenario " + arguments[0]);
            }
        } catch (Exception failure) {
            failure.printStackTrace();
            System.exit(1);
        }
        Client.getDefaultClient().stop();
        System.exit(0);
    }

    private static void consume(List<String> addresses) throws Exception {
        List<byte[]> all = bodies(100);
        Publisher publisher = publish(addresses, all.subList(0, 10));
        publisher.publish(TOPIC, all.subList(10, 100));
        waitForAll(100, direct(addresses));
    }

    /** Requeues each of 10 messages once. */
    private static void requeue(List<String> addresses) throws Exception {
        final int delayMillis = 200;
        publish(addresses, bodies(10));
        Map<String, Long> requeued = new ConcurrentHashMap<>();
        Set<String> seen = ConcurrentHashMap.newKeySet();
        deliver(direct(addresses), 5, message -> {
            String body = body(message);
            if (message.getAttempts() == 1) {
                requeued.put(body, System.nanoTime());
                message.requeue(delayMillis);
                return false;
            }
            checkDelay(requeued.get(body), delayMillis);
            seen.add(body);
            message.finish();
            return seen.size() == 10;
        });
    }

    private static void defer(List<String> addresses) throws Exception {
        final int delayMillis = 500;
        Publisher publisher = publish(addresses, List.of());
        long published = System.nanoTime();
        publisher.publishDeferred(TOPIC, "later".getBytes(StandardCharsets.UTF_8), delayMillis, TimeUnit.MILLISECONDS);
        deliver(direct(addresses), 1, message -> {
            checkDelay(published, delayMillis);
            message.finish();
            return true;
        });
    }

    /** Holds a message for more than twice nsqd's timeout of a second. */
    private static void touch(List<String> addresses) throws Exception {
        publish(addresses, List.of("held".getBytes(StandardCharsets.UTF_8)));
        deliver(direct(addresses), 1, message -> {
            for (int i = 0; i < 8; i++) {
                Thread.sleep(300);
                message.touch();
            }
            message.finish();
            return true;
        });
    }

    /** Leaves the first delivery without an answer. */
    private static void timeOut(List<String> addresses) throws Exception {
        publish(addresses, List.of("first".getBytes(StandardCharsets.UTF_8), "second".getBytes(StandardCharsets.UTF_8)));
        AtomicInteger count = new AtomicInteger();
        deliver(direct(addresses), 1, message -> {
            if (count.incrementAndGet() > 1) {
                message.finish();
            }
            return count.get() == 3;
        });
    }

    /** Knows only nsqlookupds. */
    private static void discover(List<String> addresses) throws Exception {
        waitForAll(20, new Subscriber(LOOKUP_S, addresses.toArray(String[]::new)));
    }

    private static Publisher publish(List<String> addresses, List<byte[]> bodies) {
        Publisher publisher = new Publisher(addresses.get(0));
        for (byte[] body : bodies) {
            publisher.publish(TOPIC, body);
        }
        return publisher;
    }

    private static Subscriber direct(List<String> addresses) {
        return new DirectSubscriber(LOOKUP_S, addresses.toArray(String[]::new));
    }

    private static void waitForAll(int count, Subscriber subscriber) throws Exception {
        Set<String> seen = new HashSet<>();
        deliver(subscriber, 20, message -> {
            message.finish();
            synchronized (seen) {
                seen.add(body(message));
                return seen.size() == count;
            }
        });
    }

    /** Calls the handler with each message until it returns true, then waits for the test. */
    private static void deliver(Subscriber subscriber, int maxInFlight, Handler handler) throws Exception {
        CompletableFuture<Void> finished = new CompletableFuture<>();
        // The library keeps answers for so long to send several at once.
        subscriber.setMaxFlushDelayMillis(100);
        subscriber.subscribe(TOPIC, CHANNEL, maxInFlight, message -> {
            System.out.println(body(message) + " " + message.getAttempts());
            try {
                if (handler.handle(message)) {
                    finished.complete(null);
                }
            } catch (Exception failure) {
                finished.completeExceptionally(failure);
            }
        });
        try {
            finished.get(PATIENCE_S, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            throw new IllegalStateException("not all messages came within " + PATIENCE_S + " s", late);
        }
        System.out.println("done");
        System.in.read();
    }

    private static void checkDelay(long sinceNanos, int delayMillis) {
        long afterMillis = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - sinceNanos);
        if (afterMillis < delayMillis) {
            throw new IllegalStateException("came after " + afterMillis + " ms, not " + delayMillis + " ms");
        }
    }

    private static String body(Message message) {
        return new String(message.getData(), StandardCharsets.UTF_8);
    }

    private static List<byte[]> bodies(int count) {
        List<byte[]> all = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            all.add(("message-" + i).getBytes(StandardCharsets.UTF_8));
        }
        return all;
    }
}
