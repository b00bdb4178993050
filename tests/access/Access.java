// Java's ways: streams, channels, a mapping, a child process.
import java.io.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;

class Access {
    public static void main(String[] arguments) throws Exception {
        try (FileOutputStream out = new FileOutputStream("a")) {
            out.write(new byte[100]);
        }
        Files.write(Paths.get("b"), new byte[10]);
        Files.copy(Paths.get("b"), Paths.get("c"));
        Files.move(Paths.get("c"), Paths.get("d"));
        try (RandomAccessFile file = new RandomAccessFile("e", "rw")) {
            file.seek(10);
            file.write(1);
            MappedByteBuffer map = file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, 4096);
            map.put(0, (byte) 1);
            map.force();
        }
        try (PrintWriter out = new PrintWriter("f")) {
            out.println("x");
        }
        new ProcessBuilder("cp", "a", "g").start().waitFor();
    }
}
