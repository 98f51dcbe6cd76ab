"""What is decodable where, and what restores or breaks the behaviour: probes, patching maps, geometry."""
