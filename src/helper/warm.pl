# The helper where a daemon listens already: asks it for a tunnel and passes ssh its socket, while Node would still be
# starting. It knows the usual way and nothing else. Whatever is not usual it leaves to the helper proper (proxy.ts),
# which goes on with the same conversation or begins one: a frame is looked at before it is taken.
#
# Run by the launcher only: perl warm.pl NODE FLAG MAIN proxy [--runtime-dir=FOLDER] [--] HOST PORT [USER], with ssh's socket as
# stdin and stdout, and stderr as fd 3, since perl has its own opinion of locales. No module is loaded: that would take
# half as long again, and what is not loaded can't be missing. Linux, x86-64 and AArch64.

# Put in by scripts/warm-helper.ts.
my ($version, $protocol) = ('@version@', '@protocol@');
my ($hello, $open, $progress, $ready) = ('@hello@', '@open@', '@progress@', '@ready@');
my $max_socket_path = '@maxSocketPath@';
# Seconds for the daemon to say something. It says at once whatever a person should know; a deadline of the caller's own may be short.
my $patience = defined $ENV{KEYHOLE_DEADLINE} ? 1 : 5;

$^F = 255; # Node gets the socket, too.
$SIG{PIPE} = 'IGNORE';
open STDERR, '>&3';
open my $given, '>&=3';
close $given;
my @node = splice @ARGV, 0, 3;
my ($verb, @words) = @ARGV;
my ($socket, $is_asked);
delete @ENV{ grep { /^NODE_/ && $_ ne 'NODE_EXTRA_CA_CERTS' } keys %ENV };

my $sendmsg = number_of_sendmsg() or leave_to_node();
my ($folder, %operands) = read_words() or leave_to_node();
$SIG{ALRM} = \&leave_to_node; # a daemon that hangs takes no connection, or not all that it is told
alarm $patience;
connect_to("$folder/control.sock") or leave_to_node();
send_frame($hello, protocol => $protocol, version => text($version), pid => $$);
my ($type, $body, $length) = look_at_frame();
$type == $hello && $body =~ /"protocol":$protocol\b/ && $body =~ /"version":"\Q$version\E"/ or leave_to_node();
take($length);

send_frame($open, %operands, handover => text('fd'), flags => '{}', caller => this_caller(), callers_agent($folder),
  socketInode => (stat $socket)[1]);
alarm 0;
$is_asked = 1;
for (;;) {
  ($type, $body, $length) = look_at_frame();
  last if $type == $ready;
  $type == $progress && $body !~ /"shown":true/ or leave_to_node();
  take($length);
}
take($length);
pass_socket() and exit 0;
$is_asked = 0; # it is not told twice that it is ready
leave_to_node();

# Becomes Node, which goes on with what was asked.
sub leave_to_node {
  alarm 0;
  close $socket if $socket && !$is_asked;
  $SIG{PIPE} = 'DEFAULT';
  $ENV{NODE_CHANNEL_FD} = 1;
  my @begun = $is_asked ? ('--control-fd=' . fileno $socket, '--waited=' . (time - $^T)) : ();
  exec { $node[0] } @node, $verb, @begun, @words
    or print STDERR "keyhole: cannot start $node[0]: $!\n";
  exit 1;
}

# The folder of the sockets, and what is asked for; nothing where somebody has to be told that it is wrong.
sub read_words {
  my @left = @words;
  $ENV{KEYHOLE_RUNTIME_DIR} = substr shift @left, 14 if @left && $left[0] =~ m{^--runtime-dir=/};
  return if $verb ne 'proxy' || !@left || ($left[0] =~ /^-/ && shift @left ne '--') || @left < 2 || @left > 3;
  my ($home, $named) = @ENV{ 'HOME', 'KEYHOLE_RUNTIME_DIR' };
  # As cli/own-paths.ts and private-folder.ts have it.
  return unless defined $home && $home =~ m{^/} && (stat $home)[4] == $>;
  my $folder = defined $named && $named =~ m{^/} ? $named : "$home/.ssh/keyhole";
  my ($mode, $owner) = (lstat $folder)[ 2, 4 ];
  return unless -d _ && $owner == $> && !($mode & 077) && length "$folder/control.sock" <= $max_socket_path;
  my @names = qw(host port user);
  return $folder, map { ($names[$_], text($left[$_])) } 0 .. $#left;
}

sub this_caller {
  my $cwd = readlink '/proc/self/cwd';
  $cwd = '/' unless defined $cwd && -d $cwd; # one that was removed
  my %env = map { ($_, text($ENV{$_})) } keys %ENV;
  return object(env => object(%env), cwd => text($cwd), pid => $$, parentPid => getppid);
}

# As agent/upstream.ts has it.
sub callers_agent {
  my ($folder) = @_;
  my $environment = '';
  if (open my $file, '<', '/proc/' . getppid . '/environ') {
    local $/;
    $environment = <$file>;
  }
  my ($of_ssh) = map { /^SSH_AUTH_SOCK=(.*)/s } split /\0/, $environment;
  for my $path (grep { defined && m{^/} && -S } $ENV{SSH_AUTH_SOCK}, $of_ssh) {
    next if grep { -S && is_same($_, $path) } files_in($folder), files_in("$folder/agent");
    return upstreamAgent => text($path);
  }
  return;
}

sub files_in {
  my ($folder) = @_;
  opendir my $files, $folder or return;
  return map { "$folder/$_" } readdir $files;
}

sub is_same {
  my ($one, $other) = map { join ':', (stat)[ 0, 1 ] } @_;
  return $one eq $other;
}

# By the processor of this perl, as its own file says: 64 bits, little-endian.
sub number_of_sendmsg {
  open my $file, '<:raw', '/proc/self/exe' or return;
  read $file, my $header, 20;
  my ($class, $order, $machine) = unpack 'x4 C C x12 v', $header;
  return $class == 2 && $order == 1 ? { 62 => 46, 183 => 211 }->{$machine} : undef;
}

# With the message that Node would pass it with (SCM_RIGHTS): ssh takes one byte of it and ignores what that is; a Node in ssh's
# place understands all. perl has no word for it: these are struct iovec, cmsghdr and msghdr.
sub pass_socket {
  my $text = qq({"cmd":"NODE_HANDLE","type":"net.Socket","msg":{}}\n);
  my $vector = pack 'P J', $text, length $text;
  my $rights = pack 'J l l l x4', 20, 1, 1, fileno $socket;
  my $message = pack 'J L x4 P J P J l x4', 0, 0, $vector, 1, $rights, length $rights, 0;
  return syscall($sendmsg, 1, $message, 0) == length $text;
}

sub connect_to {
  my ($path) = @_;
  return socket($socket, 1, 1, 0) && connect $socket, pack 'S a108', 1, $path;
}

sub send_frame {
  my ($type, @members) = @_;
  my $body = object(@members);
  my $frame = pack('N C', 1 + length $body, $type) . $body;
  for (my $sent = 0 ; $sent < length $frame ;) {
    $sent += syswrite($socket, $frame, length($frame) - $sent, $sent) || leave_to_node();
  }
}

# Its type, its body and how long it is with all; a type of 0 where none has come whole.
sub look_at_frame {
  my $readable = '';
  vec($readable, $_, 1) = 1 for 1, fileno $socket;
  select($readable, undef, undef, $patience) > 0 or return 0;
  exit 1 if vec $readable, 1, 1; # ssh says nothing before it has its connection: it has gone
  defined recv $socket, my $bytes, 65_536, 0x42 or return 0; # MSG_PEEK, MSG_DONTWAIT
  my $whole = length $bytes < 5 ? 5 : 4 + unpack 'N', $bytes;
  return length $bytes < $whole ? 0 : (ord substr($bytes, 4, 1), substr($bytes, 5, $whole - 5), $whole);
}

sub take {
  my ($length) = @_;
  recv $socket, my $frame, $length, 0;
}

# JSON of bytes: what is not UTF-8 is for the reader, which takes it as Node takes its own environment.
sub text {
  my ($bytes) = @_;
  $bytes =~ s/(["\\])/\\$1/g;
  $bytes =~ s/([\x00-\x1f])/sprintf '\\u%04x', ord $1/ge;
  return qq("$bytes");
}

sub object {
  my %members = @_;
  return '{' . join(',', map { text($_) . ':' . $members{$_} } keys %members) . '}';
}
