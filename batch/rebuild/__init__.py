"""Blue/green: tables built anew from bronze beside the old ones, compared with them, swapped."""
