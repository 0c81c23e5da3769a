"""workload.py: what the driver knows of a workload, whatever it is."""


class Workload:
    """A program to be measured. The time that counts is the processor's where one thread does all
    the work, since that is disturbed least, and the wall's where several do."""
    is_timeless = False  # memory alone is measured
    server = None

    def __init__(self, name, group, threads, time, environment=None):
        self.name, self.group, self.threads, self.time = name, group, threads, time
        self.environment = environment or {}

    def seconds(self, sample):
        return sample.wall if self.time == "wall" else sample.cpu

    def command(self, percent):
        """The program and its arguments, for that share of the full work."""
        raise NotImplementedError

    def prepare(self, percent):
        """Makes what the program reads, unless it is there."""
