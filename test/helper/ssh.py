"""Plays ssh with ProxyUseFdpass: one socket as stdin and stdout of the command, and a descriptor expected on it.

Usage: ssh.py COUNT COMMAND [ARGUMENT]...   Prints one JSON object per round. As in OpenSSH (sshconnect.c), the command's
end is waited for before anything is said on the descriptor."""
import array, json, os, socket, subprocess, sys

for n in range(int(sys.argv[1])):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = subprocess.Popen(sys.argv[2:], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, close_fds=True,
                             env={**os.environ, "NODE_CHANNEL_FD": "1"})
    theirs.close()
    data, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    stderr = child.stderr.read().decode()
    status = child.wait()
    said = ""
    for _, kind, fds in ancillary:
        if kind == socket.SCM_RIGHTS:
            link = socket.socket(fileno=array.array("i", fds[:4])[0])
            link.setblocking(True)  # libuv had it non-blocking
            words = "SSH-2.0-python %d\r\n" % n
            link.sendall(words.encode())
            expected = "SSH-2.0-daemon\r\n" + words
            while len(said) < len(expected):
                more = link.recv(4096)
                if not more:
                    break
                said += more.decode("latin1")
            link.close()
    print(json.dumps({"status": status, "stderr": stderr, "good": said == "SSH-2.0-daemon\r\nSSH-2.0-python %d\r\n" % n,
                      "said": said}), flush=True)
    ours.close()
