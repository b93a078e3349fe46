"""One platform for many processes: the daemon that owns it, and its two channels.

Programs attach through the data channel.  Who operates the platform speaks through
the control channel, a socket of its own with permissions of its own.
"""
