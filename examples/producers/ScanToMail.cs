// ScanToMail SPOOL FILE...: mail files as attachments from C#; for any .NET, and Mono (mcs ScanToMail.cs).
//
// The job is built in SPOOL/tmp and renamed into SPOOL/incoming: it appears there whole or not at all. Prints the job's
// name. Exit code 64: wrong arguments; 73: the job could not be written, nothing was dropped.
using System;
using System.IO;
using System.Text;

public static class ScanToMail
{
    static readonly Encoding Utf8 = new UTF8Encoding(false);

    /// <summary>Drops one mail; returns the job's name, under which the result comes back.</summary>
    static string Drop(string spool, string[] files)
    {
        string name = "scan-" + Guid.NewGuid().ToString("N");
        string staging = Path.Combine(spool, "tmp");
        if (!Directory.Exists(staging)) // CreateDirectory would make it, and with it a spool in the wrong place
            throw new DirectoryNotFoundException(staging + " is not there; is " + spool + " the spool?");
        string job = Path.Combine(staging, name);
        string attachments = Path.Combine(job, "attachments");
        Directory.CreateDirectory(attachments);
        try
        {
            foreach (string file in files)
                File.Copy(file, Path.Combine(attachments, Path.GetFileName(file)));
            File.WriteAllText(Path.Combine(job, "body.txt"), files.Length + " file(s) from the scanner.\n", Utf8);
            File.WriteAllText(Path.Combine(job, "envelope.toml"),
                "from = \"Scanner in the hall <scanner@example.com>\"\n" +
                "to = [\"archive@example.org\"]\n" +
                "subject = \"Scanned: " + files.Length + " file(s)\"\n", Utf8);
            Directory.Move(job, Path.Combine(Path.Combine(spool, "incoming"), name));
        }
        catch
        {
            Directory.Delete(job, true);
            throw;
        }
        return name;
    }

    public static int Main(string[] arguments)
    {
        if (arguments.Length < 2)
        {
            Console.Error.WriteLine("usage: ScanToMail SPOOL FILE...");
            return 64;
        }
        try
        {
            string[] files = new string[arguments.Length - 1];
            Array.Copy(arguments, 1, files, 0, files.Length);
            Console.WriteLine(Drop(arguments[0], files));
            return 0;
        }
        catch (Exception error) when (error is IOException || error is UnauthorizedAccessException)
        {
            Console.Error.WriteLine("ScanToMail: " + error.Message);
            return 73;
        }
    }
}
