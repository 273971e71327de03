// Runs one job by the contract of docs/exec.md. Made into RunJob.dll when the image is made; called by SYSTEM (SevenLBD.psm1).
//
// By the account's own token, and not by a scheduled task: so the command is a child of whoever moves its streams, in a job
// object from its first instruction, and the account sees neither the share `job` nor the handles of anybody else.
// C# 5: what the compiler of the .NET Framework knows, which every Windows has.
// Sources: learn.microsoft.com, CreateProcessAsUserW, WTSQueryUserToken, "Job Objects", "Process Connection to a Window Station";
// support.microsoft.com, 165194, on what a process is given whose lpDesktop is null, empty or named.
using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using Microsoft.Win32.SafeHandles;

namespace SevenLBD
{
    public static class Share
    {
        // For the logon session of who calls; without a letter by its path only. 85, 1219: it is there already.
        public static void Connect(string remote, string letter, string user, string password)
        {
            var resource = new Native.NetResource { Type = 1, LocalName = letter, RemoteName = remote };
            int error = Native.WNetAddConnection2W(ref resource, password, user, 0);
            if (error != 0 && error != 85 && error != 1219) throw new Win32Exception(error);
        }
    }

    public static class Screen
    {
        // The session of the machine's own screen.
        public static int Session() { return Native.WTSGetActiveConsoleSessionId(); }
    }

    public sealed class GuestJob
    {
        const int MaxPiece = 1 << 20, MostWaiting = 16, Poll = 20, MostPoll = 200, MostAsking = 5000;
        readonly string folder;
        readonly IntPtr token;
        readonly bool seen;
        readonly ManualResetEvent over = new ManualResetEvent(false);
        volatile bool killed;
        volatile string trouble;
        IntPtr job;
        int leader;

        GuestJob(string folder, IntPtr token, bool seen)
        {
            this.folder = folder;
            this.token = token;
            this.seen = seen;
        }

        // Returns what ended.json is to say. `shares` are further ones that the command may use by their paths. `session` is
        // the one in which the account's desktop stands, where the command is to be seen on it; 0 is none of anybody's.
        public static string Run(string folder, string line, IDictionary<string, string> environment, bool input,
            string account, string accountPassword, string letter, string work, string[] shares, string user, int session)
        {
            try
            {
                IntPtr token;
                if (session != 0)
                {
                    // Of whoever is logged on there, with the profile that he has loaded.
                    if (!Native.WTSQueryUserToken(session, out token)) throw new Win32Exception();
                }
                // Interactive: the one kind of log-on that every account of Users has a right to.
                else if (!Native.LogonUserW(account, ".", accountPassword, 2, 0, out token)) throw new Win32Exception();
                var profile = new Native.ProfileInfo { UserName = account, Flags = 1 };
                profile.Size = Marshal.SizeOf(typeof(Native.ProfileInfo));
                bool loaded = session == 0 && Native.LoadUserProfileW(token, ref profile);
                try
                {
                    // Drives and passwords belong to a logon session, and this one is new.
                    if (!Native.ImpersonateLoggedOnUser(token)) throw new Win32Exception();
                    try
                    {
                        Share.Connect(work, letter, user, accountPassword);
                        foreach (string share in shares) Share.Connect(share, null, user, accountPassword);
                    }
                    finally { Native.RevertToSelf(); }
                    return new GuestJob(folder, token, session != 0).Live(line, Block(token, environment), input, letter + "\\");
                }
                finally
                {
                    if (loaded) Native.UnloadUserProfile(token, profile.Profile);
                    Native.CloseHandle(token);
                }
            }
            catch (Win32Exception error) { return Failed("bad-order", error.Message); }
        }

        string Live(string line, string block, bool input, string directory)
        {
            IntPtr childIn, childOut, childErr, ourIn, ourOut, ourErr;
            Pipe(out childIn, out ourIn, true);
            Pipe(out ourOut, out childOut, false);
            Pipe(out ourErr, out childErr, false);
            job = Native.CreateJobObjectW(IntPtr.Zero, null);
            var limits = new Native.ExtendedLimits { LimitFlags = 0x2000 }; // KILL_ON_JOB_CLOSE: it dies with us
            if (!Native.SetInformationJobObject(job, 9, ref limits, Marshal.SizeOf(typeof(Native.ExtendedLimits))))
                throw new Win32Exception();
            Native.ProcessInformation made;
            int error = Native.Start(token, line, block, directory, seen, seen, childIn, childOut, childErr, out made);
            foreach (IntPtr handle in new[] { childIn, childOut, childErr }) Native.CloseHandle(handle);
            if (error != 0) return Failed(Kind(error), new Win32Exception(error).Message);
            leader = made.ProcessId;
            if (!Native.AssignProcessToJobObject(job, made.Process))
            {
                Native.TerminateProcess(made.Process, 1);
                throw new Win32Exception();
            }
            Put("started", new byte[0]);
            Native.ResumeThread(made.Thread);
            var pumps = new[] { Begin(() => Keep("stdout", ourOut)), Begin(() => Keep("stderr", ourErr)) };
            if (input) Begin(() => Feed(ourIn)); else Native.CloseHandle(ourIn);
            Begin(Watch);
            Native.WaitForSingleObject(made.Process, -1);
            uint code;
            Native.GetExitCodeProcess(made.Process, out code);
            // What it has started ends with it, and lets go of its streams.
            Native.TerminateJobObject(job, 1);
            foreach (Thread pump in pumps) pump.Join();
            over.Set();
            foreach (IntPtr handle in new[] { made.Thread, made.Process, job }) Native.CloseHandle(handle);
            if (trouble != null) return Failed("output-lost", trouble);
            return "{\"code\": " + code + "}";
        }

        // A command whose output cannot be kept is ended: the disk behind the share is full, or the share is gone.
        void Keep(string name, IntPtr pipe)
        {
            try { Send(name, pipe); }
            catch (IOException error)
            {
                trouble = "what it prints cannot be written to the share `job`: " + error.Message;
                killed = true;
                Native.TerminateJobObject(job, 1);
            }
        }

        static Thread Begin(ThreadStart work)
        {
            var thread = new Thread(work) { IsBackground = true };
            thread.Start();
            return thread;
        }

        static void Pipe(out IntPtr read, out IntPtr write, bool childReads)
        {
            var rights = new Native.SecurityAttributes { Inherit = 1 };
            rights.Length = Marshal.SizeOf(typeof(Native.SecurityAttributes));
            if (!Native.CreatePipe(out read, out write, ref rights, MaxPiece)) throw new Win32Exception();
            Native.SetHandleInformation(childReads ? write : read, 1, 0);
        }

        // A file that is seen whole or not at all.
        void Put(string name, byte[] content)
        {
            string path = Path.Combine(folder, name);
            File.WriteAllBytes(path + ".part", content);
            File.Move(path + ".part", path);
        }

        void Send(string name, IntPtr pipe)
        {
            using (var stream = new FileStream(new SafeFileHandle(pipe, true), FileAccess.Read, 1))
            {
                for (long number = 0; ; number++)
                {
                    byte[] piece = Gathered(stream, pipe);
                    string before = Path.Combine(folder, name + "." + (number - MostWaiting));
                    while (number >= MostWaiting && !killed && File.Exists(before)) Thread.Sleep(Poll);
                    Put(name + "." + number, piece);
                    if (piece.Length == 0) return;
                }
            }
        }

        // What is there by now, as one piece: each costs several round trips.
        static byte[] Gathered(FileStream stream, IntPtr pipe)
        {
            var buffer = new byte[MaxPiece];
            int length = 0;
            uint waiting = 0;
            try
            {
                do
                {
                    int more = stream.Read(buffer, length, MaxPiece - length);
                    if (more == 0) break;
                    length += more;
                } while (length < MaxPiece
                    && Native.PeekNamedPipe(pipe, IntPtr.Zero, 0, IntPtr.Zero, out waiting, IntPtr.Zero) && waiting > 0);
            }
            catch (IOException) { } // a broken pipe is its end
            Array.Resize(ref buffer, length);
            return buffer;
        }

        void Feed(IntPtr pipe)
        {
            int pause = Poll;
            using (var stream = new FileStream(new SafeFileHandle(pipe, true), FileAccess.Write, 1))
            {
                bool wanted = true;
                for (long number = 0; !over.WaitOne(0); )
                {
                    string path = Path.Combine(folder, "stdin." + number);
                    byte[] piece;
                    try { piece = File.ReadAllBytes(path); }
                    catch (FileNotFoundException)
                    {
                        Thread.Sleep(pause);
                        pause = Math.Min(pause * 3 / 2, MostPoll);
                        continue;
                    }
                    File.Delete(path);
                    pause = Poll;
                    number++;
                    if (piece.Length == 0) return;
                    try { if (wanted) stream.Write(piece, 0, piece.Length); }
                    catch (IOException) { wanted = false; } // one that has closed its input wants no more
                }
            }
        }

        // The host's orders to end it.
        void Watch()
        {
            bool asked = false;
            while (!over.WaitOne(MostPoll))
            {
                if (File.Exists(Path.Combine(folder, "kill")))
                {
                    killed = true;
                    Native.TerminateJobObject(job, 1);
                }
                else if (!asked && File.Exists(Path.Combine(folder, "stop")))
                {
                    asked = true;
                    if (seen) CloseWindows(); else Break();
                }
            }
        }

        static readonly Native.ControlHandler Ours = kind => true;

        // Ctrl-Break to all in the command's console, which has no window. We are in it for a moment, and do not mind.
        void Break()
        {
            Native.FreeConsole();
            if (!Native.AttachConsole(leader)) return;
            Native.SetConsoleCtrlHandler(Ours, true);
            Native.GenerateConsoleCtrlEvent(1, 0);
            Thread.Sleep(MostPoll);
            Native.FreeConsole();
        }

        // From within the desktop's own session: neither a message nor a console's event crosses to another. A window is
        // asked to close; of a console's, its programs hear that (CTRL_CLOSE_EVENT).
        void CloseWindows()
        {
            Native.ProcessInformation made;
            string line = "taskkill.exe /T /PID " + leader, block = Block(token, new Dictionary<string, string>());
            if (Native.Start(token, line, block, null, true, false, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, out made) != 0) return;
            Native.ResumeThread(made.Thread);
            Native.WaitForSingleObject(made.Process, MostAsking);
            foreach (IntPtr handle in new[] { made.Thread, made.Process }) Native.CloseHandle(handle);
        }

        // The account's own variables and those of the order, in the order in which Windows wants them.
        static string Block(IntPtr token, IDictionary<string, string> more)
        {
            IntPtr block;
            if (!Native.CreateEnvironmentBlock(out block, token, false)) throw new Win32Exception();
            var every = new SortedDictionary<string, string>(StringComparer.OrdinalIgnoreCase);
            try
            {
                for (IntPtr at = block; ; )
                {
                    string one = Marshal.PtrToStringUni(at);
                    if (one.Length == 0) break;
                    int equals = one.IndexOf('=', 1);
                    if (equals > 0) every[one.Substring(0, equals)] = one.Substring(equals + 1);
                    at = new IntPtr(at.ToInt64() + (one.Length + 1) * 2);
                }
            }
            finally { Native.DestroyEnvironmentBlock(block); }
            foreach (var pair in more) every[pair.Key] = pair.Value;
            var text = new StringBuilder();
            foreach (var pair in every) text.Append(pair.Key).Append('=').Append(pair.Value).Append('\0');
            return text.Append('\0').ToString();
        }

        // WinError.h: 2 and 3 are no such file or folder, 267 is no current folder.
        static string Kind(int error)
        {
            return error == 2 || error == 3 ? "not-found" : error == 267 ? "no-folder" : "not-runnable";
        }

        static string Failed(string kind, string said)
        {
            var text = new StringBuilder();
            foreach (char c in said.Trim())
            {
                if (c < ' ' || c == '"' || c == '\\') text.AppendFormat("\\u{0:x4}", (int)c);
                else text.Append(c);
            }
            return "{\"failed\": \"" + kind + "\", \"said\": \"" + text + "\"}";
        }
    }

    static class Native
    {
        public delegate bool ControlHandler(uint kind);

        [StructLayout(LayoutKind.Sequential, CharSet = CharSet.Unicode)]
        public struct NetResource
        {
            public int Scope, Type, DisplayType, Usage;
            public string LocalName, RemoteName, Comment, Provider;
        }

        [StructLayout(LayoutKind.Sequential, CharSet = CharSet.Unicode)]
        public struct ProfileInfo
        {
            public int Size, Flags;
            public string UserName, ProfilePath, DefaultPath, ServerName, PolicyPath;
            public IntPtr Profile;
        }

        [StructLayout(LayoutKind.Sequential)]
        public struct SecurityAttributes { public int Length; public IntPtr Descriptor; public int Inherit; }

        [StructLayout(LayoutKind.Sequential)]
        public struct ProcessInformation { public IntPtr Process, Thread; public int ProcessId, ThreadId; }

        // JOBOBJECT_EXTENDED_LIMIT_INFORMATION, of which one field is used.
        [StructLayout(LayoutKind.Sequential)]
        public struct ExtendedLimits
        {
            public long PerProcessTime, PerJobTime;
            public uint LimitFlags;
            public UIntPtr MinimumWorkingSet, MaximumWorkingSet;
            public uint ActiveProcesses;
            public UIntPtr Affinity;
            public uint PriorityClass, SchedulingClass;
            public ulong ReadOperations, WriteOperations, OtherOperations, ReadBytes, WriteBytes, OtherBytes;
            public UIntPtr ProcessMemory, JobMemory, PeakProcessMemory, PeakJobMemory;
        }

        [StructLayout(LayoutKind.Sequential, CharSet = CharSet.Unicode)]
        struct StartupInfoEx
        {
            public int Size;
            public string Reserved, Desktop, Title;
            public int X, Y, XSize, YSize, XChars, YChars, Fill, Flags;
            public short Show, ReservedSize;
            public IntPtr ReservedBytes, Input, Output, Error, Attributes;
        }

        // Suspended, and with these three handles only, or none: on the desktop of the token's session, or on an unseen one of
        // the token's own (null would be ours, SYSTEM's, where user32.dll of another account fails: 0xC0000142); in a console
        // that is seen or without a window. Returns Windows' error, or 0.
        public static int Start(IntPtr token, string line, string block, string directory, bool desktop, bool console,
            IntPtr input, IntPtr output, IntPtr error, out ProcessInformation made)
        {
            made = new ProcessInformation();
            IntPtr size = IntPtr.Zero;
            InitializeProcThreadAttributeList(IntPtr.Zero, 1, 0, ref size);
            IntPtr attributes = Marshal.AllocHGlobal(size);
            var handles = GCHandle.Alloc(new[] { input, output, error }, GCHandleType.Pinned);
            IntPtr variables = Marshal.StringToHGlobalUni(block);
            try
            {
                if (!InitializeProcThreadAttributeList(attributes, 1, 0, ref size)) return Marshal.GetLastWin32Error();
                // PROC_THREAD_ATTRIBUTE_HANDLE_LIST
                if (!UpdateProcThreadAttribute(attributes, 0, new IntPtr(0x20002), handles.AddrOfPinnedObject(),
                        new IntPtr(3 * IntPtr.Size), IntPtr.Zero, IntPtr.Zero)) return Marshal.GetLastWin32Error();
                bool streams = input != IntPtr.Zero;
                var start = new StartupInfoEx { Flags = streams ? 0x100 : 0, Input = input, Output = output, Error = error };
                start.Size = Marshal.SizeOf(typeof(StartupInfoEx));
                start.Attributes = streams ? attributes : IntPtr.Zero;
                start.Desktop = desktop ? "winsta0\\default" : "";
                // CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, EXTENDED_STARTUPINFO_PRESENT; CREATE_NEW_CONSOLE or
                // CREATE_NO_WINDOW
                uint flags = 0x4 | 0x400 | 0x80000 | (console ? 0x10u : 0x08000000u);
                return CreateProcessAsUserW(token, null, new StringBuilder(line), IntPtr.Zero, IntPtr.Zero, streams, flags,
                    variables, directory, ref start, out made) ? 0 : Marshal.GetLastWin32Error();
            }
            finally
            {
                Marshal.FreeHGlobal(variables);
                handles.Free();
                Marshal.FreeHGlobal(attributes);
            }
        }

        [DllImport("mpr.dll", CharSet = CharSet.Unicode)]
        public static extern int WNetAddConnection2W(ref NetResource resource, string password, string user, int flags);

        [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
        public static extern bool LogonUserW(string user, string domain, string password, int kind, int provider, out IntPtr token);

        [DllImport("wtsapi32.dll", SetLastError = true)]
        public static extern bool WTSQueryUserToken(int session, out IntPtr token);

        [DllImport("kernel32.dll")]
        public static extern int WTSGetActiveConsoleSessionId();

        [DllImport("advapi32.dll", SetLastError = true)]
        public static extern bool ImpersonateLoggedOnUser(IntPtr token);

        [DllImport("advapi32.dll", SetLastError = true)]
        public static extern bool RevertToSelf();

        [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
        static extern bool CreateProcessAsUserW(IntPtr token, string application, StringBuilder line, IntPtr processRights,
            IntPtr threadRights, bool inherit, uint flags, IntPtr environment, string directory, ref StartupInfoEx start,
            out ProcessInformation made);

        [DllImport("userenv.dll", CharSet = CharSet.Unicode, SetLastError = true)]
        public static extern bool LoadUserProfileW(IntPtr token, ref ProfileInfo profile);

        [DllImport("userenv.dll", SetLastError = true)]
        public static extern bool UnloadUserProfile(IntPtr token, IntPtr profile);

        [DllImport("userenv.dll", SetLastError = true)]
        public static extern bool CreateEnvironmentBlock(out IntPtr block, IntPtr token, bool inherit);

        [DllImport("userenv.dll", SetLastError = true)]
        public static extern bool DestroyEnvironmentBlock(IntPtr block);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool CreatePipe(out IntPtr read, out IntPtr write, ref SecurityAttributes rights, int size);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool SetHandleInformation(IntPtr handle, uint mask, uint flags);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool PeekNamedPipe(IntPtr pipe, IntPtr buffer, int size, IntPtr read, out uint waiting, IntPtr left);

        [DllImport("kernel32.dll", SetLastError = true)]
        static extern bool InitializeProcThreadAttributeList(IntPtr list, int count, int flags, ref IntPtr size);

        [DllImport("kernel32.dll", SetLastError = true)]
        static extern bool UpdateProcThreadAttribute(IntPtr list, uint flags, IntPtr which, IntPtr value, IntPtr size,
            IntPtr previous, IntPtr returned);

        [DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
        public static extern IntPtr CreateJobObjectW(IntPtr rights, string name);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool SetInformationJobObject(IntPtr job, int kind, ref ExtendedLimits limits, int size);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool AssignProcessToJobObject(IntPtr job, IntPtr process);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool TerminateJobObject(IntPtr job, uint code);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool TerminateProcess(IntPtr process, uint code);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern uint ResumeThread(IntPtr thread);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern uint WaitForSingleObject(IntPtr handle, int milliseconds);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool GetExitCodeProcess(IntPtr process, out uint code);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool CloseHandle(IntPtr handle);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool FreeConsole();

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool AttachConsole(int process);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool SetConsoleCtrlHandler(ControlHandler handler, bool add);

        [DllImport("kernel32.dll", SetLastError = true)]
        public static extern bool GenerateConsoleCtrlEvent(uint kind, uint group);
    }
}
